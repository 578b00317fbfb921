# What a kube-proxy does, as far as a node of tests needs it: TCP to the address of a Service goes to
# one of its ready Pods. Runs in the node's namespaces. $1 = kubectl, $2 = kubeconfig.
set -eu
program=$1 config=$2
kubectl() { "$program" --kubeconfig "$config" "$@"; }

# Pods are on one bridge: without another sender, a Pod's answer would pass the node by. Where the
# kernel lacks something, a node without Services is better than none.
if ! iptables -w -t nat -A POSTROUTING -m conntrack --ctstate DNAT -j MASQUERADE; then
    echo "Pods cannot reach Services"
    exec sleep infinity
fi
iptables -w -t nat -N SERVICES
iptables -w -t nat -A PREROUTING -j SERVICES
iptables -w -t nat -A OUTPUT -j SERVICES

# Arguments: namespace, Service, "port-name=port ...", "address ...". The chain of a Service that is
# gone stays, until another gets its address.
forward() {
    query='{{range .items}}{{.spec.clusterIP}}{{range .spec.ports}} {{or .name "-"}}={{.port}}{{end}}{{end}}'
    service=$(kubectl get services -n "$1" --field-selector "metadata.name=$2" -o go-template="$query")
    ip=${service%% *}
    case $ip in '' | None) return ;; esac
    {
        # Declares the chain and empties it, in one step with what follows.
        printf '*nat\n:%s - [0:0]\n' "$ip"
        for port in ${service#* }; do
            for target in $3; do
                [ "${port%=*}" = "${target%=*}" ] || continue
                left=$(echo "$4" | wc -w)
                for address in $4; do
                    echo "-A $ip -p tcp --dport ${port#*=}" \
                        "-m statistic --mode nth --every $left --packet 0" \
                        "-j DNAT --to-destination $address:${target#*=}"
                    left=$((left - 1))
                done
            done
        done
        echo COMMIT
    } | iptables-restore -w --noflush
    iptables -w -t nat -C SERVICES -d "$ip" -j "$ip" 2>/dev/null ||
        iptables -w -t nat -A SERVICES -d "$ip" -j "$ip"
}

# A line for each slice, and for each change of one. The server ends a watch now and then; what has
# failed is tried again with the next.
line='{{.metadata.namespace}}|{{index .metadata.labels "kubernetes.io/service-name"}}|'
line=$line'{{range .ports}}{{or .name "-"}}={{.port}} {{end}}|'
line=$line'{{range .endpoints}}{{if .conditions.ready}}{{index .addresses 0}} {{end}}{{end}}{{"\n"}}'
while true; do
    kubectl get endpointslices -A -l kubernetes.io/service-name --watch -o go-template="$line" |
        while IFS='|' read -r namespace service ports addresses; do
            # The API server's has a rule of its own.
            [ "$namespace/$service" = default/kubernetes ] ||
                forward "$namespace" "$service" "$ports" "$addresses"
        done || true
    sleep 1
done

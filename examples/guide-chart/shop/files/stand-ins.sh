# In the place of migrate, pg_dump, psql and curl. The kubelet tells every container the addresses
# of Services; where there is a DNS, their names do as well.
address() {
  name=$(echo "$1" | tr a-z- A-Z_)
  found=$(env | sed -n "s/^${name}_SERVICE_HOST=//p")
  echo "${found:-$1}"
}
host_of() { host=${1#*://}; host=${host##*@}; echo "${host%%[:/]*}"; }
curl() {
  data=
  while [ $# -gt 1 ]; do
    case $1 in
      --data) data=$2; shift ;;
      -X | -H) shift ;;
    esac
    shift
  done
  host=$(host_of "$1")
  url=$(echo "$1" | sed "s|//$host|//$(address "$host")|")
  # A new Service may need a moment to reach its Pods.
  for try in 1 2 3 4 5; do
    timeout 10 wget -q -O - ${data:+--post-data "$data"} "$url" && return
    sleep 1
  done
  return 22
}
pg_dump() { curl -s "http://$2:PORT/cgi-bin/orders"; }
psql() { curl --data "$(cat)" "http://$2:PORT/cgi-bin/orders"; }
migrate() {
  for table in 1 2 3 4 5 6 7 8; do
    echo "migrating table $table of 8"
    sleep PACE
  done
  curl --data up "http://$(host_of "$4"):PORT/cgi-bin/migrate"
}

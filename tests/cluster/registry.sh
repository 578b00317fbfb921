#!/bin/sh
# A read-only image registry as a CGI script of busybox's httpd: files under the site's root by the path asked for.
# As the specification has it, without what a client that only pulls never asks.
file=..$PATH_INFO
case $PATH_INFO in
*..*) file= ;;
*/manifests/*) type=application/vnd.oci.image.manifest.v1+json ;;
*) type=application/octet-stream ;;
esac
if [ ! -f "$file" ]; then
    printf 'Status: 404 Not Found\r\nContent-Type: application/json\r\n\r\n'
    printf '{"errors": [{"code": "MANIFEST_UNKNOWN", "message": "the test registry knows only busybox"}]}'
    exit
fi
# A tag is a link to its digest.
digest=$(basename "$(readlink -f "$file")")
printf 'Content-Type: %s\r\nContent-Length: %s\r\nDocker-Content-Digest: %s\r\n\r\n' \
    "$type" "$(stat -Lc %s "$file")" "$digest"
[ "$REQUEST_METHOD" = HEAD ] || cat "$file"

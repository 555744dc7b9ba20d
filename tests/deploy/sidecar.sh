#!/usr/bin/env bash
# deploy/kubernetes/sidecar acted out with processes: a network namespace is the pod with the application and the gateway,
# another one is whoever calls, a third one the issuer and the API that the application calls.
. "$(dirname "$0")/common.sh"

pod=bw-pod-$$ caller=bw-caller-$$ cloud=bw-cloud-$$

clean() { for space in $pod $caller $cloud; do ip netns del "$space" 2>/dev/null || true; done; }

join() { # join SPACE ADDRESS OTHER ADDRESS: a cable between two namespaces
    ip link add "v$5a$$" netns "$1" type veth peer name "v$5b$$" netns "$3"
    ip -n "$1" addr add "$2/24" dev "v$5a$$"
    ip -n "$3" addr add "$4/24" dev "v$5b$$"
    ip -n "$1" link set "v$5a$$" up
    ip -n "$3" link set "v$5b$$" up
}

for space in $pod $caller $cloud; do
    ip netns add "$space"
    ip -n "$space" link set lo up
done
join "$pod" 10.77.0.2 "$caller" 10.77.0.1 c
join "$pod" 10.77.1.2 "$cloud" 10.77.1.1 i
in_pod=(ip netns exec "$pod")
in_caller=(ip netns exec "$caller")

printf 'an issuer and an API elsewhere, the application and the gateway in one pod\n'
make_keys
certify cloud IP:10.77.1.1
begin "$work/cloud.log" ip netns exec "$cloud" python3 "$servers/upstream.py" "$work/cloud.port" 10.77.1.1 8443 "$work/cloud.pem" "$work/cloud.key"
begin "$work/application.log" "${in_pod[@]}" python3 "$servers/upstream.py" "$work/application.port" 127.0.0.1 9000
eventually 'the API listens' test -s "$work/cloud.port"
eventually 'the application listens' test -s "$work/application.port"

# The policy that is shipped, with the addresses and keys of this place.
mkdir -p "$work/secrets" "$work/etc/..first"
printf 'secret-of-orders\n' >"$work/secrets/client_secret"
sed -e "s,/run/secrets/bearward/,$work/secrets/," \
    -e 's,https://stock.example.com,https://10.77.1.1:8443,' \
    -e 's,https://login.example.com/realms/shop/token,https://10.77.1.1:8443/token,' \
    -e "s,jwt: {algorithms: .*,jwt: {public_keys: [$work/issuer.pem]}," \
    -e 's,drain_timeout: 10s,drain_delay: 5s,' \
    deploy/kubernetes/sidecar/gateway.yaml >"$work/etc/..first/gateway.yaml"
# As Kubernetes mounts a ConfigMap: what is read is a link into a folder that a link leads to.
ln -s ..first "$work/etc/..data"
ln -s ..data/gateway.yaml "$work/etc/gateway.yaml"
swap() { # swap FOLDER: the ConfigMap has changed
    ln -s "$1" "$work/etc/..data_tmp"
    mv -T "$work/etc/..data_tmp" "$work/etc/..data"
}

begin "$work/gateway.log" "${in_pod[@]}" env SSL_CERT_FILE="$work/authority.pem" "$bearward" run --config "$work/etc/gateway.yaml"
gateway=$begun
eventually 'the gateway is ready' logged "$work/gateway.log" ready

claims='"iss": "https://login.example.com/realms/shop", "aud": "orders", "sub": "u1"'
reader="Authorization: Bearer $(token "{$claims, \"scope\": \"orders:read\"}")"
other="Authorization: Bearer $(token "{$claims, \"scope\": \"else\"}")"
from_caller() { "${in_caller[@]}" curl --silent --output /dev/null --max-time 20 --write-out '%{http_code}' "$@" || true; }
from_application() { "${in_pod[@]}" curl --silent --max-time 20 "$@"; }
service=http://10.77.0.2:8080

printf 'whoever calls the application comes through the gateway\n'
equal 'the application, from within its pod' "$(from_application --output /dev/null --write-out '%{http_code}' http://127.0.0.1:9000/orders/7)" 200
equal 'around the gateway' "$(from_caller http://10.77.0.2:9000/orders/7)" 000
equal 'without a token' "$(from_caller "$service/orders/7")" 401
equal 'with another scope' "$(from_caller -H "$other" "$service/orders/7")" 403
equal 'with the right one' "$(from_caller -H "$reader" "$service/orders/7")" 200
equal 'writing with it' "$(from_caller -X POST -H "$reader" "$service/orders")" 403
"${in_caller[@]}" curl --silent -H "$reader" -H 'X-Auth-Subject: root' "$service/orders/7" >"$work/seen"
equal 'who it is, as the application sees it' "$(python3 -c 'import json,sys; print(json.load(open(sys.argv[1]))["headers"]["x-auth-subject"])' "$work/seen")" u1
equal 'a probe' "$(from_caller "$service/healthz")" 200
equal 'ready' "$(from_caller http://10.77.0.2:9901/readyz)" 200
equal 'metrics' "$(from_caller http://10.77.0.2:9901/metrics)" 200
for path in '' status routes revocations; do
    case $(from_caller "http://10.77.0.2:9901/$path") in
    403 | 404) ;;
    *) fail "the admin listener serves /$path to everybody" ;;
    esac
done

printf 'the application calls the API through the gateway\n'
from_application http://127.0.0.1:8081/stock/7 >"$work/seen"
equal 'what the API gets' "$(python3 -c 'import json,sys; print(json.load(open(sys.argv[1]))["headers"]["authorization"])' "$work/seen")" 'Bearer of-the-gateway'
equal 'a path that is none of its' "$(from_application --output /dev/null --write-out '%{http_code}' http://127.0.0.1:8081/else)" 404
equal 'who calls the application doesn'\''t get there' "$(from_caller http://10.77.0.2:8081/stock/7)" 000
equal 'nor by the other port' "$(from_caller -H "$reader" "$service/stock/7")" 404
if grep -q 'secret-of-orders\|of-the-gateway' "$work/gateway.log"; then fail 'a secret is in the log'; fi

printf 'the policy changes under requests\n'
callers() { # as many as that, one request after another, until the file `calling` is gone
    touch "$work/calling"
    for number in $(seq "$1"); do
        (for _ in $(seq 5000); do [ -e "$work/calling" ] || break; from_caller -H "$reader" "$service/orders/$number" && echo; done >"$work/caller.$number") &
        calls+=($!)
    done
}
answers() { # what they got: how many of each status
    rm "$work/calling"
    wait "${calls[@]}"
    calls=()
    sort "$work"/caller.* | uniq -c | awk '{ print $2 }' | tr '\n' ' '
}
calls=()
callers 3
mkdir "$work/etc/..second"
sed 's,methods: \[POST\]\, scopes: \["orders:write"\],methods: [POST]\, scopes: ["orders:read"],' "$work/etc/..first/gateway.yaml" >"$work/etc/..second/gateway.yaml"
if cmp --silent "$work/etc/..first/gateway.yaml" "$work/etc/..second/gateway.yaml"; then fail 'nothing was changed'; fi
swap ..second
writes() { [ "$(from_caller -X POST -H "$reader" "$service/orders")" = 200 ]; }
eventually 'the change is in force' writes
say 'a change of the ConfigMap is in force'
equal 'requests meanwhile' "$(answers)" '200 '

mkdir "$work/etc/..third"
sed 's,allow: public,allow: everybody,' "$work/etc/..second/gateway.yaml" >"$work/etc/..third/gateway.yaml"
swap ..third
refused() { "${in_caller[@]}" curl --silent http://10.77.0.2:9901/readyz | grep -q '"last_reload":"error"'; }
eventually 'the broken one is noticed' refused
equal 'one that is broken changes nothing' "$(from_caller -X POST -H "$reader" "$service/orders")" 200
equal 'and the pod stays ready' "$(from_caller http://10.77.0.2:9901/readyz)" 200
swap ..second

printf 'the pod is told to stop\n'
callers 3
"${in_caller[@]}" curl --silent --no-buffer --max-time 20 --output "$work/slow" --write-out '%{http_code}' -H "$reader" "$service/orders/slow" >"$work/slow.status" &
slow=$!
eventually 'a slow answer begins' test -s "$work/slow"
# Of `ip netns exec` nothing is left: it became the gateway.
kill -TERM "$gateway"
unready() { [ "$(from_caller http://10.77.0.2:9901/readyz)" = 503 ]; }
eventually 'it is no longer ready' unready
say 'it is no longer ready'
# Load balancers have noticed.
equal 'requests until they noticed' "$(answers)" '200 '
wait "$slow"
equal 'the slow one' "$(cat "$work/slow.status")" 200
code=0
wait "$gateway" || code=$?
equal 'the gateway ends with' "$code" 0

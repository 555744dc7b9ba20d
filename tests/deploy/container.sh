#!/usr/bin/env bash
# The image as deploy/container/Containerfile makes it, without the compilation: built, looked through, and run as a
# cluster would, by number, with a file system that can't be written, no capability and limits of memory and processor.
. "$(dirname "$0")/common.sh"

store=(--root "$work/store" --runroot "$work/run" --storage-driver vfs)
podman=(podman "${store[@]}" --runtime runc --cgroup-manager cgroupfs --events-backend none)
image=localhost/bearward:test
names=()

clean() {
    for name in "${names[@]}"; do "${podman[@]}" rm --force --time 0 "$name" >/dev/null 2>&1 || true; done
}

hardened() { # hardened NAME OPTION...: the image running
    local name=$1 limit
    # No container may open more than this machine.
    limit=$(ulimit -Hn)
    shift
    names+=("$name")
    "${podman[@]}" run --pull never --detach --name "$name" --network host --read-only --read-only-tmpfs=false \
        --cap-drop all --security-opt no-new-privileges --ulimit "nofile=$limit:$limit" --ulimit nproc=1000:1000 \
        --volume "$work/etc:/etc/bearward:ro" "$@" "$image" >/dev/null
    eventually "$name listens" ready "$name"
    log_of "$name"
}

log_of() { "${podman[@]}" logs "$1" >"$work/$1.log" 2>&1; }

ready() { log_of "$1" && logged "$work/$1.log" ready; }

printf 'the image\n'
deploy/release/components --sbom "$work/sbom.cdx.json" --licences "$work/THIRD-PARTY.txt" --allowed deny.toml
bring_tools
"$tools/bin/python" - "$work/sbom.cdx.json" <<'EOF'
import sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
wrong = JsonStrictValidator(SchemaVersion.V1_6).validate_str(open(sys.argv[1]).read())
sys.exit(wrong and f"FAILED: the bill of materials: {wrong}")
EOF
say 'the bill of materials is one'
deploy/container/rootfs "$bearward" "$work/build/image" "$work/sbom.cdx.json" "$work/THIRD-PARTY.txt"
deploy/container/rootfs "$bearward" "$work/again" "$work/sbom.cdx.json" "$work/THIRD-PARTY.txt"
sum_of() { tar --sort=name --mtime=@0 --owner=0 --group=0 -C "$1" -c . | sha256sum; }
equal 'made twice, it is the same' "$(sum_of "$work/build/image")" "$(sum_of "$work/again")"
buildah "${store[@]}" build --quiet --isolation chroot --build-context "build=$work/build" \
    --file deploy/container/Containerfile --tag "$image" . >/dev/null
inspect() { "${podman[@]}" image inspect --format "$1" "$image"; }
equal 'user' "$(inspect '{{.Config.User}}')" 65532:65532
equal 'what it runs' "$(inspect '{{.Config.Entrypoint}} {{.Config.Cmd}}')" \
    '[/usr/bin/bearward] [run --config /etc/bearward/gateway.yaml]'

printf 'what it is compiled from\n'
buildah "${store[@]}" build --quiet --isolation chroot --file - --tag localhost/source:test . >/dev/null <<'EOF'
FROM scratch
COPY . /source
EOF
mounted=$("${podman[@]}" image mount localhost/source:test)
equal 'all of that' "$(cd "$mounted/source" && find . -mindepth 1 -maxdepth 1 | sort | tr '\n' ' ')" \
    './Cargo.lock ./Cargo.toml ./LICENSE ./README.md ./benches ./deploy ./rust-toolchain.toml ./src ./tests '
holds 'cargo finds what it needs' env --chdir "$mounted/source" cargo metadata --locked --offline --no-deps --format-version 1
"${podman[@]}" image unmount localhost/source:test >/dev/null

printf 'what is in it\n'
mounted=$("${podman[@]}" image mount "$image")
programs=$(cd "$mounted" && find . -type f -perm /111 | sort | tr '\n' ' ')
for program in $programs; do
    case $program in
    ./usr/bin/bearward | ./lib*/ld-linux*.so.* | ./lib/*/lib*.so.* | ./lib64/ld-linux*.so.*) ;;
    *) fail "the image has $program" ;;
    esac
done
say "programs and libraries: $programs"
equal 'what others than root may write' "$(find "$mounted" -mindepth 1 ! -type l -perm /022)" ''
equal 'whose rights a program takes on' "$(find "$mounted" -perm /6000)" ''
holds 'authorities of the machine that built it' cmp "$mounted/etc/ssl/certs/ca-certificates.crt" /etc/ssl/certs/ca-certificates.crt
for name in hyper uplot; do
    holds "licences of what is in it: $name" grep -q "^  $name " "$mounted/usr/share/doc/bearward/THIRD-PARTY.txt"
done
"${podman[@]}" image unmount "$image" >/dev/null

printf 'without a configuration\n'
mkdir "$work/etc"
code=0
"${podman[@]}" run --pull never --rm --network none --read-only --cap-drop all --ulimit nofile=1000:1000 \
    --ulimit nproc=1000:1000 "$image" >"$work/nothing.log" 2>&1 || code=$?
equal 'it ends with' "$code" 78

printf 'an upstream by https, by a name that DNS knows\n'
make_keys
certify api DNS:api.shop.example
begin "$work/upstream.log" python3 "$servers/upstream.py" "$work/port" 127.0.0.1 0 "$work/api.pem" "$work/api.key"
begin "$work/nameserver.log" python3 "$servers/nameserver.py" "$work/names" 127.0.0.77
eventually 'the upstream listens' test -s "$work/port"
eventually 'the name server listens' test -e "$work/names"
cp "$work/issuer.pem" "$work/etc/"
cat >"$work/etc/gateway.yaml" <<EOF
listen: ["127.0.0.1:0"]
admin: {address: "127.0.0.1:0"}
issuers:
  shop: {issuer: https://login.shop.example, audiences: [orders], jwt: {public_keys: [issuer.pem]}}
upstreams:
  api: {url: "https://api.shop.example:$(cat "$work/port")"}
routes:
  - {name: orders, path: /orders/**, upstream: api, allow: [{scopes: [orders:read]}]}
EOF
chmod -R go+rX "$work/etc"
chmod 0755 "$work"
good=$(token '{"iss": "https://login.shop.example", "aud": "orders", "sub": "u1", "scope": "orders:read"}')
other=$(token '{"iss": "https://login.shop.example", "aud": "orders", "sub": "u1", "scope": "else"}')

hardened stranger --dns 127.0.0.77
address=$(listening "$work/stranger.log" 127.0.0.1:0)
equal 'no token' "$(status "http://$address/orders/7")" 401
equal 'another scope' "$(status -H "Authorization: Bearer $other" "http://$address/orders/7")" 403
equal 'an upstream whose authority is none of the image'\''s' "$(status -H "Authorization: Bearer $good" "http://$address/orders/7")" 502

# The image's own authorities, and one more: what an operator mounts there is believed.
cat /etc/ssl/certs/ca-certificates.crt "$work/authority.pem" >"$work/authorities.crt"
chmod 0644 "$work/authorities.crt"
hardened friend --dns 127.0.0.77 --memory 64m --cpus 1 \
    --volume "$work/authorities.crt:/etc/ssl/certs/ca-certificates.crt:ro"
address=$(listening "$work/friend.log" 127.0.0.1:0)
equal 'an upstream whose authority was added' "$(status -H "Authorization: Bearer $good" "http://$address/orders/7")" 200

printf 'as it runs\n'
process=$("${podman[@]}" inspect --format '{{.State.Pid}}' friend)
is() { awk -v "name=$1:" '$1 == name { print $2 }' "/proc/$process/status"; }
equal 'user' "$(is Uid)" 65532
equal 'capabilities' "$(is CapEff)$(is CapPrm)$(is CapBnd)" 000000000000000000000000000000000000000000000000
equal 'no new privileges' "$(is NoNewPrivs)" 1
equal 'its root is' "$(awk '$5 == "/" { split($6, options, ","); print options[1] }' "/proc/$process/mountinfo")" ro
sized() { logged "$work/friend.log" sized | field "$1"; }
equal 'workers, of one processor' "$(sized workers)" 1
equal 'the memory that it may take' "$(sized memory_limit_bytes)" 67108864
equal 'the token cache is a quarter of that' "$(sized token_cache_bytes)" 16777216

printf 'a request that is under way when it is stopped\n'
curl --silent --no-buffer --max-time 20 --output "$work/slow" --write-out '%{http_code}' -H "Authorization: Bearer $good" \
    "http://$address/orders/slow" >"$work/slow.status" &
request=$!
eventually 'the answer begins' test -s "$work/slow"
"${podman[@]}" stop --time 30 friend >/dev/null
wait "$request"
equal 'it is answered' "$(cat "$work/slow.status")" 200
equal 'and the container ends with' "$("${podman[@]}" inspect --format '{{.State.ExitCode}}' friend)" 0

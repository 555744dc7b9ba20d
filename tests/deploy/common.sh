# What the scripts of this folder share; to be sourced. Each of them stops at the first thing that isn't as it should be.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
root=$PWD
bearward=${BEARWARD:-$root/target/debug/bearward}
servers=$root/tests/deploy
tools=$root/target/deploy-tools
work=$(mktemp -d)
started=()

finish() {
    for process in "${started[@]}"; do kill "$process" 2>/dev/null || true; done
    if declare -F clean >/dev/null; then clean; fi
    rm -rf "$work"
}
trap finish EXIT

say() { printf '  %s\n' "$*"; }

fail() {
    printf 'FAILED: %s\n' "$*" >&2
    exit 1
}

equal() { # equal WHAT GOT WANTED
    [ "$2" = "$3" ] || fail "$1: got «$2», wanted «$3»"
    say "$1: $2"
}

holds() { # holds WHAT COMMAND...
    local what=$1
    shift
    "$@" >/dev/null || fail "$what"
    say "$what"
}

eventually() { # eventually WHAT COMMAND...: a minute at most, on the slowest machine
    local what=$1
    shift
    for _ in $(seq 600); do
        if "$@" >/dev/null 2>&1; then return; fi
        sleep 0.1
    done
    fail "not within a minute: $what"
}

begin() { # begin LOG COMMAND...: in the background, until the script ends; `$begun` is its process
    local log=$1
    shift
    "$@" >"$log" 2>&1 &
    begun=$!
    started+=("$begun")
}

logged() { # logged LOG MESSAGE: the first line of a gateway's log with it
    grep -m1 "\"message\":\"$2\"" "$1"
}

field() { # field NAME: of a JSON line on standard input
    python3 -c 'import json, sys; print(json.loads(sys.stdin.readline())[sys.argv[1]])' "$1"
}

listening() { # listening LOG NAME: the address of a gateway's listener
    grep -m1 "\"message\":\"listening\".*\"listener\":\"$2\"" "$1" | field address
}

status() { # status CURL-ARGUMENT...: the answer's status
    curl --silent --output /dev/null --max-time 20 --write-out '%{http_code}' "$@" || true
}

bring_tools() { "$root/tests/deploy/tools" "$tools"; }

make_keys() { # in $work: a key that signs tokens, and the public one
    openssl genpkey -algorithm ed25519 -out "$work/signer.pem" 2>/dev/null
    openssl pkey -in "$work/signer.pem" -pubout -out "$work/issuer.pem"
}

token() { # token CLAIMS: signed by that key
    "$bearward" token sign --key "$work/signer.pem" --claims "$1"
}

certify() { # certify NAME ALTERNATIVE: $work/NAME.pem and .key, vouched for by $work/authority.pem
    local kind=(-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes)
    if [ ! -e "$work/authority.pem" ]; then
        openssl req -x509 "${kind[@]}" -days 2 -subj /CN=authority -keyout "$work/authority.key" -out "$work/authority.pem" 2>/dev/null
    fi
    openssl req "${kind[@]}" -subj "/CN=$1" -keyout "$work/$1.key" -out "$work/$1.csr" 2>/dev/null
    openssl x509 -req -in "$work/$1.csr" -CA "$work/authority.pem" -CAkey "$work/authority.key" -days 2 \
        -extfile <(echo "subjectAltName=$2") -out "$work/$1.pem" 2>/dev/null
}

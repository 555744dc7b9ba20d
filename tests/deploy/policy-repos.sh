#!/usr/bin/env bash
# What repositories of policies get: the hooks, by the real pre-commit in such a repository, and the workflow, held against GitHub's
# schema, with its steps run as a runner runs them.
. "$(dirname "$0")/common.sh"
bring_tools
mkdir "$work/bin"
ln -s "$bearward" "$work/bin/bearward"
export PATH="$work/bin:$tools/bin:$PATH" PRE_COMMIT_HOME="$work/pre-commit" HOME="$work" RUNNER_TEMP="$work/runner"
export GIT_CONFIG_NOSYSTEM=1
mkdir "$RUNNER_TEMP"
git config --global user.name tester
git config --global user.email tester@example.org
git config --global init.defaultBranch main
git config --global advice.detachedHead false

printf 'hooks\n'
# The repository that hooks come from, with the file that is at hand.
hooks=$work/hooks
git init --quiet "$hooks"
cp .pre-commit-hooks.yaml "$hooks/"
git -C "$hooks" add .
git -C "$hooks" commit --quiet --message hooks
git -C "$hooks" tag v0.1.0

policies=$work/policies
git init --quiet "$policies"
cd "$policies"
mkdir routes
cat >gateway.yaml <<'EOF'
include: [routes/*.yaml]
issuers:
  login: {issuer: https://login.example.com, audiences: [orders], introspection: {endpoint: "https://login.example.com/in", client_id: a, client_secret: "${SECRET}"}}
EOF
cat >routes/orders.yaml <<'EOF'
routes:
  - {name: orders, path: /orders/**, upstream: "http://127.0.0.1:9000", allow: [{scopes: [orders:read]}]}
EOF
cat >gateway.test.yaml <<'EOF'
config: gateway.yaml
tests:
  - name: readers read
    request: GET https://api.example.com/orders/7
    token: {issuer: login, claims: {sub: u1, scope: "orders:read"}}
    expect: {decision: allow}
EOF
cat >.pre-commit-config.yaml <<EOF
repos:
  - repo: $hooks
    rev: v0.1.0
    hooks:
      - id: bearward-check
      - id: bearward-test
EOF
pre-commit install >/dev/null
commits() { git add . && git commit --quiet --message "$1" >"$work/commit.log" 2>&1; }
commits 'a good policy' || fail "a good policy can't be committed: $(cat "$work/commit.log")"
say 'a good policy is committed'
holds 'both hooks ran' test "$(pre-commit run --all-files | grep -c 'bearward.*Passed')" = 2

sed -i 's/orders:read\]/orders:reed]/' routes/orders.yaml
if commits 'a misspelt scope'; then fail 'a policy whose test fails was committed'; fi
holds 'a misspelt scope is refused, by the test' grep -q 'FAILED.*readers read\|readers read' "$work/commit.log"
git checkout --quiet HEAD -- .
sed -i 's/upstream:/upstrem:/' routes/orders.yaml
if commits 'a misspelt key'; then fail 'a policy that is none was committed'; fi
holds 'a misspelt key of an included file is refused' grep -q 'did you mean `upstream`' "$work/commit.log"
git reset --quiet --hard HEAD
echo 'words' >README
commits 'words' || fail 'words were refused'
if grep -q 'bearward.*Passed' "$work/commit.log"; then fail 'hooks ran for what no policy reads'; fi
say 'and words are nobody'\''s business'

printf 'the workflow\n'
workflow=$root/deploy/github/policy.yaml
holds 'it is one, by GitHub'\''s schema' check-jsonschema --builtin-schema vendor.github-workflows "$workflow"
holds 'and the hooks are some, by pre-commit'\''s' pre-commit validate-manifest "$root/.pre-commit-hooks.yaml"
step() { # step NAME: as a runner runs it
    local script
    script=$("$tools/bin/python" -c 'import sys, yaml
jobs = yaml.safe_load(open(sys.argv[1]))["jobs"]
print(next(step["run"] for step in jobs["policy"]["steps"] if step.get("name") == sys.argv[2]))' "$workflow" "$1")
    CONFIG=gateway.yaml TESTS=gateway.test.yaml bash --noprofile --norc -e -o pipefail -c "$script"
}
holds 'a good policy passes the check' step check
holds 'and its tests' step test
holds 'whose results are there' grep -q '<testcase name="readers read"' "$RUNNER_TEMP/results.xml"
sed -i 's/upstream:/upstrem:/' routes/orders.yaml
code=0
step check >"$work/annotations" || code=$?
equal 'one that is wrong ends with' "$code" 1
annotation=$(grep -m1 upstrem "$work/annotations")
equal 'and says where' "${annotation%%::unknown*}" '::error file=routes/orders.yaml,line=2,col=38'
git checkout --quiet HEAD -- .
sed -i 's/orders:read\]/orders:reed]/' routes/orders.yaml
code=0
step test >/dev/null || code=$?
equal 'one whose test fails ends with' "$code" 1
holds 'which the results say' grep -q '<failure' "$RUNNER_TEMP/results.xml"

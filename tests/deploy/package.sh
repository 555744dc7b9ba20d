#!/usr/bin/env bash
# The Debian package: made by cargo-deb, installed on this machine, used, upgraded, and taken away without a trace.
. "$(dirname "$0")/common.sh"

export PATH="$tools/bin:$PATH"
command -v cargo-deb >/dev/null || cargo install --quiet --locked --no-default-features --root "$tools" cargo-deb@3.8.0
if dpkg-query --status bearward >/dev/null 2>&1; then fail 'bearward is installed here: this would take it away'; fi
clean() { dpkg --purge bearward >/dev/null 2>&1 || true; }

traces() { find /etc /usr /var/lib /var/cache -iname '*bearward*' ! -path '*/dpkg/info/*' 2>/dev/null | sort; }
before=$(traces)
# What was found is somebody else's.
CARGO_TARGET_DIR=$work/target deploy/debian/package "$bearward" --fast --strip --output "$work/bearward.deb" >/dev/null

printf 'installed\n'
dpkg --install "$work/bearward.deb" >/dev/null 2>&1
equal 'version' "$(/usr/bin/bearward --version)" "$("$bearward" --version)"
equal 'configuration files' "$(dpkg-query --show --showformat '${Conffiles}' bearward | awk '{ print $1 }' | tr -d '\n')" /etc/bearward/gateway.yaml
holds 'the example passes' env --ignore-environment /usr/bin/bearward check --config /etc/bearward/gateway.yaml
holds 'its schema is where it says' test -e "$(sed -n '1s/.*schema=//p' /etc/bearward/gateway.yaml)"
holds 'completions for bash' bash -n /usr/share/bash-completion/completions/bearward
holds 'completions for zsh' grep -q '^#compdef bearward' /usr/share/zsh/vendor-completions/_bearward
holds 'completions for fish' grep -q 'complete -c bearward' /usr/share/fish/vendor_completions.d/bearward.fish
holds 'the bill of materials' grep -q CycloneDX /usr/share/doc/bearward/sbom.cdx.json
for test in /usr/share/doc/bearward/examples/*/gateway.test.yaml; do
    holds "$test" /usr/bin/bearward test "$test"
done
# An older systemd says that it leaves out the second Type=, as the unit's comment has it.
said=$(systemd-analyze verify /usr/lib/systemd/system/bearward.service /usr/lib/systemd/system/bearward.socket 2>&1 | grep -v 'ignoring: notify-reload$' || true)
equal 'what systemd says of the units' "$said" ''
equal 'units that were enabled' "$(find /etc/systemd -name 'bearward*')" ''
equal 'files that others than root may write' "$(dpkg --listfiles bearward | xargs -d '\n' -I{} find {} -maxdepth 0 ! -type l -perm /022)" ''

printf 'upgraded\n'
echo '# mine' >>/etc/bearward/gateway.yaml
dpkg --install "$work/bearward.deb" >/dev/null 2>&1
equal 'the last line of the configuration' "$(tail -1 /etc/bearward/gateway.yaml)" '# mine'

printf 'taken away\n'
mkdir -p /var/lib/private/bearward
ln -s private/bearward /var/lib/bearward
dpkg --remove bearward >/dev/null 2>&1
equal 'the configuration stays' "$(tail -1 /etc/bearward/gateway.yaml)" '# mine'
dpkg --purge bearward >/dev/null 2>&1
equal 'after a purge there is left' "$(comm -13 <(echo "$before") <(traces))" ''

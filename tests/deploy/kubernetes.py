"""The manifests and the chart, as Kubernetes would get them: against its schemas, and for what its schemas don't know.

    kubernetes.py BEARWARD TOOLS
"""

import pathlib
import subprocess
import sys
import tempfile

import kubernetes_validate
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
CHART = ROOT / "deploy/helm/bearward"
VALUES = ROOT / "tests/deploy/helm"
# The oldest that has sidecars, which the manifests use, and the newest that is known here.
VERSIONS = ["1.29", "1.37"]
# Of the Prometheus operator; no schema of Kubernetes' own.
FOREIGN = {"ServiceMonitor", "PrometheusRule"}
bearward, tools = (pathlib.Path(argument).resolve() for argument in sys.argv[1:])


def main():
    for name in ["standalone", "sidecar"]:
        rendered = run(tools / "bin/kubectl", "kustomize", ROOT / "deploy/kubernetes" / name).stdout
        examine(f"deploy/kubernetes/{name}", rendered)
    charts()
    mistakes()
    notes()


def charts():
    files = policy_files()
    examine("chart with the least", template("least.yaml", *files), ["NetworkPolicy", "PodDisruptionBudget"])
    most = ["NetworkPolicy", "PodDisruptionBudget", "HorizontalPodAutoscaler", "ServiceMonitor", "PrometheusRule"]
    everything = template("most.yaml", *files)
    examine("chart with everything", everything, most)
    rule = next(item for item in yaml.safe_load_all(everything) if item["kind"] == "PrometheusRule")
    alerts = yaml.safe_load((ROOT / "deploy/prometheus/rules.yaml").read_text())
    expect(rule["spec"] == alerts, "the chart's alerts aren't those of deploy/prometheus")
    examine("chart with a ConfigMap of one's own", template("own.yaml"), [])


def policy_files():
    names = ["gateway.yaml", "gateway.test.yaml"]
    escaped = {name: name.replace(".", "\\.") for name in names}
    return [word for name in names for word in ("--set-file", f"policy.{escaped[name]}={VALUES / name}")]


def template(values, *arguments):
    return helm("template", "gw", CHART, "--namespace", "edge", "--values", VALUES / values, *arguments).stdout


def mistakes():
    """What is wrong is said before anything is installed."""
    policy = (VALUES / "gateway.yaml").read_text()
    cases = [
        ("no policy", None, [], "a `gateway.yaml` is required"),
        ("a misspelt value", policy, ["--set", "replicas=3"], "replicas"),
        ("no image", policy, ["--set", "image.repository="], "image.repository is required"),
        ("an admin listener on loopback", policy.replace('admin: {address: "0.0.0.0:9901"}\n', ""), [], "probes can't reach"),
        ("an admin listener elsewhere", policy.replace("0.0.0.0:9901", "0.0.0.0:9902"), [], "probes can't reach"),
        ("a port where nobody listens", policy, ["--set", "ports[0].port=8081"], "at port 8081"),
        ("a listener on loopback", policy.replace("0.0.0.0:8080", "127.0.0.1:8080"), [], "at port 8080"),
        ("no YAML", "listen: [", [], "isn't YAML"),
        ("a port of root's", policy, ["--set", "ports[0].port=80"], "minimum"),
    ]
    for what, text, arguments, message in cases:
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            file.write(text or "")
            file.flush()
            given = [] if text is None else ["--set-file", f"policy.gateway\\.yaml={file.name}"]
            command = ["template", "gw", CHART, "--values", VALUES / "least.yaml", *given, *arguments]
            result = helm(*command, check=False)
        expect(result.returncode != 0, f"{what}: rendered all the same")
        expect(message in result.stderr, f"{what}: {result.stderr}")
    print(f"  {len(cases)} mistakes are refused")


def notes():
    arguments = ["install", "gw", CHART, "--dry-run=client", "--namespace", "edge", "--values", VALUES / "least.yaml"]
    text = helm(*arguments, *policy_files()).stdout
    for words in ["helm -n edge test gw", "networkPolicy.from is empty", "networkPolicy.egress is empty"]:
        expect(words in text, f"the notes don't say: {words}")
    helm("lint", CHART, "--strict", "--values", VALUES / "least.yaml", *policy_files())
    print("  the notes tell what is left to do")


def examine(what, rendered, kinds=None):
    objects = [item for item in yaml.safe_load_all(rendered) if item]
    for item in objects:
        if item["kind"] in FOREIGN:
            continue
        for version in VERSIONS:
            try:
                kubernetes_validate.validate(item, version, strict=True)
            except kubernetes_validate.ValidationError as error:
                fail(f"{what}: {item['kind']}, Kubernetes {version}: {error.message}")
    if kinds is not None:
        optional = {item["kind"] for item in objects} - {"Deployment", "Service", "ConfigMap", "Pod"}
        expect(optional == set(kinds), f"{what}: {optional}")
    policies = [check_policy(what, item) for item in objects if item["kind"] == "ConfigMap"]
    workloads = [item for item in objects if item["kind"] in {"Deployment", "Pod"}]
    for item in workloads:
        hardened(what, item["spec"]["template"]["spec"] if item["kind"] == "Deployment" else item["spec"])
    deployment = next(item for item in objects if item["kind"] == "Deployment")
    fits_together(what, deployment, objects, policies)
    print(f"  {what}: {len(objects)} objects")


def hardened(what, pod):
    """Pod Security Standards' `restricted`, and a file system that can't be written."""
    expect(pod["automountServiceAccountToken"] is False, f"{what}: a token of Kubernetes' is mounted")
    security = pod["securityContext"]
    expect(security["runAsNonRoot"] is True and security["seccompProfile"]["type"] == "RuntimeDefault", f"{what}: {security}")
    for container in containers(pod):
        own = container["securityContext"]
        expect(own["readOnlyRootFilesystem"] and not own["allowPrivilegeEscalation"], f"{what}: {own}")
        expect(own["capabilities"] == {"drop": ["ALL"]}, f"{what}: {own}")
        expect("memory" in container["resources"]["limits"], f"{what}: no memory limit")
        for mount in container.get("volumeMounts", []):
            expect("subPath" not in mount, f"{what}: a subPath never changes")
            is_state = mount["mountPath"] == "/var/lib/bearward"
            expect(mount.get("readOnly") or is_state, f"{what}: {mount} can be written")
        secret = [entry for entry in container.get("env", []) if "secretKeyRef" in entry.get("valueFrom", {})]
        expect(not secret, f"{what}: a secret in the environment")


def containers(pod):
    return pod.get("initContainers", []) + pod["containers"]


def check_policy(what, config_map):
    with tempfile.TemporaryDirectory() as folder:
        for name, text in config_map["data"].items():
            pathlib.Path(folder, name).write_text(text)
        config = pathlib.Path(folder, "gateway.yaml")
        command = [bearward, "check", "--without-secrets", "--deny-warnings", "--config", config]
        result = run(*command, check=False)
        expect(result.returncode == 0, f"{what}: {result.stderr}")
        for test in pathlib.Path(folder).glob("*.test.yaml"):
            result = run(bearward, "test", test, check=False)
            expect(result.returncode == 0, f"{what}: {result.stdout}{result.stderr}")
        return yaml.safe_load(config.read_text())


def fits_together(what, deployment, objects, policies):
    pod = deployment["spec"]["template"]["spec"]
    gateway = next(container for container in containers(pod) if container["name"] == "bearward")
    ports = {port["name"]: port["containerPort"] for port in gateway["ports"]}
    labels = deployment["spec"]["template"]["metadata"]["labels"]

    def selects(selector):
        return selector.items() <= labels.items()

    expect(selects(deployment["spec"]["selector"]["matchLabels"]), f"{what}: the selector isn't the pod's")
    for item in objects:
        if item["kind"] == "Service":
            expect(selects(item["spec"]["selector"]), f"{what}: a Service of no pod")
            for port in item["spec"]["ports"]:
                expect(port["targetPort"] in ports, f"{what}: a Service's port {port}")
                headless = item["spec"].get("clusterIP") == "None"
                expect(headless or port["targetPort"] != "admin", f"{what}: a Service opens the admin listener")
        if item["kind"] == "PodDisruptionBudget":
            expect(selects(item["spec"]["selector"]["matchLabels"]), f"{what}: a budget of no pod")
        if item["kind"] == "Pod":
            own = deployment["spec"]["selector"]["matchLabels"]
            expect(not own.items() <= item["metadata"]["labels"].items(), f"{what}: a test's pod gets requests")
    guarding = [item["spec"] for item in objects if item["kind"] == "NetworkPolicy"]
    guarding = [policy for policy in guarding if selects(policy["podSelector"]["matchLabels"])]
    for rule in (rule for policy in guarding for rule in policy["ingress"]):
        expect(rule.get("from") and rule.get("ports"), f"{what}: everybody may come: {rule}")
        for port in rule["ports"]:
            expect(port["port"] in ports, f"{what}: a policy's port {port}")
    for probe in ["readinessProbe", "livenessProbe"]:
        expect(gateway[probe]["httpGet"]["port"] == "admin", f"{what}: {probe}")
    for policy in policies:
        expect(policy["admin"]["address"] == f"0.0.0.0:{ports['admin']}", f"{what}: {policy['admin']}")
        server = policy.get("server", {})
        drain = seconds(server.get("drain_delay", "0s")) + seconds(server.get("drain_timeout", "30s"))
        expect(pod["terminationGracePeriodSeconds"] > drain, f"{what}: killed before the drain is over")
        listens = [listen if isinstance(listen, str) else listen["address"] for listen in policy["listen"]]
        outside = {int(address.rsplit(":", 1)[1]) for address in listens if not address.startswith("127.")}
        expect(set(ports.values()) - {ports["admin"]} <= outside, f"{what}: it listens at {outside}, not at {ports}")


def seconds(duration):
    return int(duration.removesuffix("s"))


def helm(*arguments, check=True):
    return run(tools / "bin/helm", *arguments, check=check)


def run(*command, check=True):
    result = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    expect(result.returncode == 0 or not check, f"{command}: {result.stdout}{result.stderr}")
    return result


def expect(holds, message):
    if not holds:
        fail(message)


def fail(message):
    sys.exit(f"FAILED: {message}")


main()

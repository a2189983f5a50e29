"""The check of pods against the restricted standard finds each fault that it is for."""

import pytest

from chart import restricted
from chart.planting import GONE, Fault, assert_found
from chart.rendering import Rendered

pytestmark = pytest.mark.chart

API = "Deployment/polka-api"
POSTGRES = "StatefulSet/polka-postgres"
JOB = "Job/polka-migrate"
TEST = "Pod/polka-test-audit"
WAIT = "pod.initContainers.0"

FAULTS = [
    Fault(API, "pod.hostNetwork", True, "hostNetwork is true"),
    Fault(API, "pod.hostPID", True, "hostPID is true"),
    Fault(API, "pod.hostIPC", True, "hostIPC is true"),
    Fault(API, "pod.volumes", [{"name": "disk", "hostPath": {"path": "/"}}], "the volume disk is a hostPath"),
    Fault(API, "pod.securityContext.sysctls", [{"name": "kernel.msgmax", "value": "1"}], "it sets kernel.msgmax"),
    Fault(API, "pod.securityContext.supplementalGroups", [0], "root's group"),
    Fault(API, "pod.securityContext.runAsNonRoot", GONE, "polka-api, api: runAsNonRoot is not true"),
    Fault(API, "pod.securityContext.runAsUser", 0, "it runs as root"),
    Fault(API, "pod.securityContext.seccompProfile", GONE, "polka-api, api: it has no seccomp profile"),
    Fault(API, "pod.securityContext.seccompProfile.type", "Unconfined", "its seccomp profile is Unconfined"),
    Fault(API, "pod.securityContext.appArmorProfile", {"type": "Unconfined"}, "its AppArmor profile is Unconfined"),
    Fault(API, "pod.securityContext.seLinuxOptions", {"type": "spc_t"}, "it chooses its SELinux label"),
    Fault(API, "pod.securityContext.windowsOptions", {"hostProcess": True}, "it is a process of the host"),
    Fault(API, "pod.ephemeralContainers", [{"name": "look", "securityContext": {}}], "polka-api, look: allowPriv"),
    Fault(API, "container.securityContext.allowPrivilegeEscalation", True, "api: allowPrivilegeEscalation is not"),
    Fault(API, "container.securityContext.privileged", True, "api: it is privileged"),
    Fault(API, "container.securityContext.procMount", "Unmasked", "api: procMount is Unmasked"),
    Fault(API, "container.securityContext.capabilities.drop", ["NET_RAW"], "api: it does not drop all"),
    Fault(API, "container.securityContext.capabilities.add", ["SYS_ADMIN"], "api: it adds SYS_ADMIN"),
    Fault(API, "container.securityContext.runAsUser", 0, "api: it runs as root"),
    Fault(API, "container.securityContext.seccompProfile", {"type": "Unconfined"}, "seccomp profile is Unconfined"),
    Fault(API, "container.ports.0.hostPort", 8000, "api: it takes the node's port 8000"),
    Fault(API, "container.livenessProbe.httpGet.host", "example.com", "its livenessProbe goes to example.com"),
    Fault(API, "container.lifecycle.postStart", {"tcpSocket": {"host": "a"}}, "its postStart goes to a"),
    Fault(API, f"{WAIT}.securityContext.capabilities", GONE, "polka-api, wait: it does not drop all"),
    Fault(JOB, f"{WAIT}.securityContext.privileged", True, "migrate: it is privileged"),
    Fault(JOB, "pod.hostNetwork", True, "hostNetwork is true"),
    Fault(TEST, "spec.hostNetwork", True, "Pod/polka-test-audit: hostNetwork is true"),
    Fault(TEST, "spec.containers.0.securityContext.privileged", True, "audit: it is privileged"),
    Fault(POSTGRES, "pod.securityContext.runAsUser", 0, "polka-postgres: it runs as root"),
    Fault(API, "pod.automountServiceAccountToken", GONE, "automountServiceAccountToken is not false"),
    Fault(API, "pod.enableServiceLinks", True, "enableServiceLinks is not false"),
    Fault(API, "pod.terminationGracePeriodSeconds", 25, "it is killed after 25 s, and needs 25 s to stop"),
    Fault(API, "container.lifecycle.preStop.sleep.seconds", 60, "it is killed after 45 s, and needs 80 s to stop"),
    Fault(API, "container.securityContext.readOnlyRootFilesystem", GONE, "readOnlyRootFilesystem is not true"),
    Fault(POSTGRES, "container.securityContext.readOnlyRootFilesystem", False, "postgres: readOnlyRootFilesystem"),
    Fault(API, "container.resources.requests.cpu", GONE, "api: it has no requests.cpu"),
    Fault(API, f"{WAIT}.resources.requests.memory", GONE, "wait: it has no requests.memory"),
    Fault(API, "container.resources.limits", GONE, "api: it has no limits.memory"),
    Fault(API, "container.imagePullPolicy", "Always", "api: its image is pulled Always"),
    Fault(API, "container.imagePullPolicy", GONE, "api: its image is pulled by its tag"),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.said)
def test_it_finds(fault: Fault, everything: Rendered) -> None:
    assert_found(restricted.faults, everything, fault)

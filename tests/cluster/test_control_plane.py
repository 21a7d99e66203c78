"""The bare control plane behaves as a real one, survives its faults and leaves nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.cluster.control_plane import ControlPlane
from tests.cluster.kubectl import Kubectl, KubectlError

pytestmark = [pytest.mark.apiserver, pytest.mark.slow]

_CONFIG_MAP = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "kept"}}


def test_a_user_may_do_what_rbac_grants_and_nothing_else(control_plane: ControlPlane) -> None:
    admin = control_plane.kubectl
    alice = Kubectl(control_plane.user("alice"))
    with pytest.raises(KubectlError, match="forbidden"):
        alice("get", "configmaps")
    admin("create", "role", "reader", "--verb=get,list", "--resource=configmaps")
    admin("create", "rolebinding", "alice", "--role=reader", "--user=alice")
    assert alice.json("get", "configmaps")["kind"] == "List"
    with pytest.raises(KubectlError, match="forbidden"):
        alice("create", "configmap", "new")


def test_an_apiserver_that_crashed_still_has_what_was_written(control_plane: ControlPlane) -> None:
    control_plane.kubectl.apply(_CONFIG_MAP)
    control_plane.apiserver.kill()
    with pytest.raises(KubectlError):
        control_plane.kubectl("get", "configmap", "kept", timeout=60)
    control_plane.apiserver.start()
    assert control_plane.kubectl.json("get", "configmap", "kept")["kind"] == "ConfigMap"


def test_a_watch_from_before_a_compaction_is_told_gone(control_plane: ControlPlane) -> None:
    kubectl = control_plane.kubectl
    control_plane.etcd.compact()
    # The apiserver's watch cache forgets with its process; then only etcd could know.
    control_plane.apiserver.stop()
    control_plane.apiserver.start()
    url = "/api/v1/configmaps?watch=1&resourceVersion=1&timeoutSeconds=5"
    event = json.loads(kubectl("get", "--raw", url).splitlines()[0])
    assert (event["type"], event["object"]["code"]) == ("ERROR", 410)


def test_what_an_owner_leaves_is_collected(control_plane: ControlPlane) -> None:
    kubectl = control_plane.kubectl
    kubectl("create", "namespace", "owned")
    kubectl("create", "configmap", "owner", "-n", "owned")
    owner = kubectl.json("get", "configmap", "owner", "-n", "owned")["metadata"]
    reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner["uid"]}
    metadata = {"name": "child", "namespace": "owned", "ownerReferences": [reference]}
    kubectl.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata})
    kubectl("delete", "configmap", "owner", "-n", "owned")
    kubectl("wait", "--for=delete", "configmap/child", "-n", "owned", "--timeout=60s")
    kubectl("delete", "namespace", "owned", "--timeout=60s")


def test_each_request_is_on_the_audit_log(control_plane: ControlPlane) -> None:
    control_plane.kubectl("create", "configmap", "audited")
    entries = map(json.loads, control_plane.audit_log.read_text("utf-8").splitlines())
    written = [entry for entry in entries if entry.get("objectRef", {}).get("name") == "audited"]
    assert {entry["verb"] for entry in written} == {"create"}


def test_nothing_runs_on_when_the_tests_are_killed(
    control_plane: ControlPlane, tmp_path: Path
) -> None:
    program = (
        "import sys, time, pathlib\n"
        "from tests.cluster.control_plane import control_plane\n"
        "with control_plane(pathlib.Path(sys.argv[1])) as plane:\n"
        "    print(plane.apiserver.pid, flush=True)\n"
        "    time.sleep(600)\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as tests:
        assert tests.stdout is not None
        apiserver = int(tests.stdout.readline())
        assert _runs(apiserver)
        os.kill(tests.pid, signal.SIGKILL)
    deadline = time.monotonic() + 30
    while _runs(apiserver):
        assert time.monotonic() < deadline, "the apiserver outlives its tests"
        time.sleep(0.1)


def _runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"

from __future__ import annotations

import gc
import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from tests.servers.scripted_api import kubeconfig_of, scripted_api

from strandline.adapters.kube.answers import ExpiredError
from strandline.adapters.kube.api import KubeApi
from strandline.adapters.kube.informer import Informer
from strandline.adapters.kube.resources import JOBS
from strandline.testing.fake_clock import FakeClock
from strandline.testing.kube_objects import a_job

PAGES, PAGE = 4, 200


def page_of(number: int) -> dict[str, Any]:
    items = []
    for index in range(number * PAGE, (number + 1) * PAGE):
        job = a_job("team", f"search-{index:05d}-1", uid=f"{index:036d}", resourceVersion="7")
        variables = [{"name": f"VARIABLE_{k}", "value": f"value-{k}"} for k in range(30)]
        job["spec"]["template"]["spec"]["containers"][0]["env"] = variables
        job["metadata"]["managedFields"] = [{"fieldsV1": {f"f:field-{k}": {} for k in range(60)}}]
        items.append(job)
    token = str(number + 1) if number + 1 < PAGES else None
    return {"metadata": {"resourceVersion": "9", "continue": token}, "items": items}


def test_an_object_takes_little_more_memory_than_its_text(tmp_path: Path) -> None:
    with scripted_api() as scripted:
        for number in range(PAGES):
            scripted.reply(200, page_of(number))
        scripted.reply(410, {"kind": "Status", "reason": "Expired"})  # ends the step
        api = KubeApi.connect(kubeconfig_of(tmp_path, scripted.url))
        informer = Informer(api, JOBS, FakeClock())
        kept = page_of(0)["items"][0]
        del kept["metadata"]["managedFields"]
        text = len(json.dumps(kept, separators=(",", ":")))
        gc.collect()
        tracemalloc.start()
        before, _ = tracemalloc.get_traced_memory()
        with pytest.raises(ExpiredError):
            informer.step()
        scripted.replies.clear()
        gc.collect()
        after, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        api.close()
    assert len(informer) == PAGES * PAGE
    assert (after - before) / len(informer) < text + 700
    assert peak - before < len(informer) * (text + 700) + 8_000_000  # one page at a time

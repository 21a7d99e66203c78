"""What surrounds a Katib trial: its container, its metrics collector, its resume policy.

A Strandline trial is a trainable inside a warm worker, so most of this has no equal; each
field says what takes its place.
"""

from __future__ import annotations

from strandline.jobs.katib.fates import Path
from strandline.jobs.katib.reader import Reader

_TEMPLATE: Path = ("spec", "trialTemplate")
_ELSEWHERE = (
    "Strandline trains inside its own workers on the Dataset; to keep your container, leave the "
    "Experiment in Katib and let it ask our algorithms (`strandline katib serve`)"
)
_TEMPLATE_NOTES = {
    "retain": "workers are reused; a trial's rows and metrics stay in the catalog",
    "trialSpec": f"a container of yours: {_ELSEWHERE}",
    "configMap": f"a container of yours: {_ELSEWHERE}",
    "trialParameters": "parameters reach a trial by their own names: there is no template to fill",
    "primaryPodLabels": "a trial has no pod of its own",
    "primaryContainerName": "a trial has no container of its own",
    "successCondition": "a trial succeeds when its last step is reported",
    "failureCondition": "a trial that fails has the reason in its row: `strandline describe`",
}
_RESUME = {
    "Never": "a Search can always be resumed: leave it as it is when it has ended",
    "LongRunning": "every Search resumes from any end state; raise its budget and apply again",
    "FromVolume": "every Search resumes from its catalog: no volume to mount",
}


def tell_surroundings(reader: Reader) -> None:
    """Tell the fate of all that surrounds the search itself, and of the status."""
    report = reader.report
    for field in reader.keys(_TEMPLATE):
        if field in _TEMPLATE_NOTES:
            report.no_equal((*_TEMPLATE, field), _TEMPLATE_NOTES[field])
    report.no_equal(
        ("spec", "metricsCollectorSpec"),
        "a trial reports its metrics itself, after every step: there is no output to read",
    )
    _tell_resume_policy(reader)
    report.no_equal(
        ("status",),
        "what has happened in Katib stays there: the Search starts from its first trial",
    )


def _tell_resume_policy(reader: Reader) -> None:
    path = ("spec", "resumePolicy")
    policy = reader.text(path)
    if not policy:
        return
    if policy not in _RESUME:
        reader.refuse(path, f"it is {policy!r}: choose {', '.join(_RESUME)}")
    elif policy == "Never":
        reader.report.no_equal(path, _RESUME[policy])
    else:
        reader.report.approximated(path, "", _RESUME[policy])

"""Render how a search stands as one HTML page, in the manner of the evaluation's report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Any

from markupsafe import Markup

from strandline.learn import plots
from strandline.learn.plots import Band, Chart, Dot, Line
from strandline.learn.report import page_environment, policy_hash, source_of
from strandline.spec.progress import FrontTrial, ProgressReport, RerankedTrial, ValueForecast

_MOST_BARS, _MOST_ROWS, _MOST_CHARTS = 20, 200, 6
_BAR_HEIGHT, _BAR_LEFT, _BAR_WIDTH = 20, 150, 160


def render_progress(report: ProgressReport) -> str:
    """Return the page; it reaches for nothing outside itself."""
    environment = page_environment()
    style = source_of(environment, "report.css")
    metrics = list(report.front[0].values) if report.front else []
    return environment.get_template("progress.html.j2").render(
        report=report,
        style=style,
        style_hash=policy_hash(style),
        counts=describe_counts(report),
        hours=_spell_hours(report.device_seconds),
        tiles=list(_tiles(report)),
        best_chart=_best_chart(report),
        time_chart=_time_chart(report),
        outlook=describe_outlook(report),
        metrics=metrics,
        front=[_row(trial, metrics) for trial in report.front[:_MOST_ROWS]],
        front_charts=list(_front_charts(report.front, metrics)),
        reranked_chart=_reranked_chart(report),
        bars=_bars(report),
        steps=sorted(report.steps.items()),
    )


def describe_counts(report: ProgressReport) -> str:
    """Return how many trials are in which state, in words."""
    told = [f"{count} {state.value}" for state, count in report.counts.items() if count]
    return ", ".join(told) or "no trials yet"


def describe_outlook(report: ProgressReport) -> str:
    """Return where the best is expected, in words."""
    told = []
    if report.at_budget is not None:
        told.append(f"when the budget is spent {_spell_forecast(report.at_budget)}")
    if report.at_double is not None:
        told.append(f"with twice the budget {_spell_forecast(report.at_double)}")
    if not told:
        return f"No forecast: {report.no_forecast}."
    return f"Expected {report.metric}: {'; '.join(told)}."


def _spell_forecast(found: ValueForecast) -> str:
    return f"{found.value:.4g} (80%: {found.low:.4g} to {found.high:.4g}, {found.trials} trials)"


def _spell_hours(seconds: float) -> str:
    return f"{seconds / 3600:.2f} h" if seconds >= 3600 else f"{seconds:.0f} s"


def _tiles(report: ProgressReport) -> Iterator[dict[str, str]]:
    if report.best is not None:
        note = f"trial {report.best.trial}"
        yield {"name": report.metric, "value": f"{report.best.value:.4g}", "note": note}
    if report.reranked:
        chosen = report.reranked[0]
        note = f"trial {chosen.trial}, the chosen one"
        yield {"name": "Fully trained", "value": f"{chosen.value:.4g}", "note": note}
    for name, found in (("At the end", report.at_budget), ("Twice the budget", report.at_double)):
        if found is not None:
            note = f"{found.low:.4g} to {found.high:.4g}"
            yield {"name": name, "value": f"{found.value:.4g}", "note": note}
    ended = sum(group.count for group in report.failures)
    yield {
        "name": "Failed",
        "value": str(ended),
        "note": f"of {sum(report.counts.values())} trials",
    }


def _best_chart(report: ProgressReport) -> Markup | None:
    told = [each for each in (report.at_budget, report.at_double) if each is not None]
    last = max([each.trials for each in told], default=sum(report.counts.values()))
    bands: list[Band] = []
    if report.best is not None and told:
        now = sum(report.counts.values())
        start, value = float(min(now, told[0].trials)), report.best.value
        places = [start, *(float(each.trials) for each in told)]
        low, high = ([value, *(getattr(t, end) for t in told)] for end in ("low", "high"))
        bands = [Band(places, low, high, "band")]
    return _curve_chart(
        report, [float(p.ended) for p in report.curve], float(last), bands, "trials"
    )


def _time_chart(report: ProgressReport) -> Markup | None:
    places = [point.device_seconds for point in report.curve]
    return _curve_chart(report, places, report.device_seconds, [], "seconds on devices")


def _curve_chart(
    report: ProgressReport, places: Sequence[float], last: float, bands: Sequence[Band], x: str
) -> Markup | None:
    if not report.curve:
        return None
    values = [point.value for point in report.curve]
    told = [*values, *(v for band in bands for v in (*band.low, *band.high))]
    bottom, top = _room(told)
    now = bands[0].x[0] if bands else last
    return plots.draw(
        Chart(
            f"The best {report.metric} over {x}",
            x,
            report.metric,
            [_staircase(places, values, max(now, places[-1]))],
            [Dot(places[-1], values[-1], "point", f"trial {report.curve[-1].trial}")],
            x_top=max(last, places[-1], 1.0),
            y_top=top,
            y_bottom=bottom,
            x_tick=_number,
            y_tick=_number,
            bands=bands,
        )
    )


def _staircase(places: Sequence[float], values: Sequence[float], last: float) -> Line:
    """Return the line that stays until a better value comes."""
    x, y = [places[0]], [values[0]]
    for place, value in zip(places[1:], values[1:], strict=True):
        x += [place, place]
        y += [y[-1], value]
    return Line([*x, last], [*y, y[-1]], "")


def _front_charts(
    front: Sequence[FrontTrial], metrics: Sequence[str]
) -> Iterator[tuple[Markup, str]]:
    for one, other in list(combinations(metrics, 2))[:_MOST_CHARTS]:
        dots = [
            Dot(
                trial.values[one],
                trial.values[other],
                "point" if trial.within_limits else "before",
                f"trial {trial.trial}: {one} {trial.values[one]:.4g}, "
                f"{other} {trial.values[other]:.4g}",
            )
            for trial in front[:_MOST_ROWS]
        ]
        title = f"{other} against {one}"
        yield _scatter(title, one, other, dots), title


def _reranked_chart(report: ProgressReport) -> Markup | None:
    known = [(t, t.searched) for t in report.reranked if t.searched is not None]
    if len(known) < 2:
        return None  # one dot says less than its row
    dots = [_reranked_dot(report, trial, searched) for trial, searched in known]
    title = f"{report.metric} after full training against that in the search"
    return _scatter(title, "in the search", "after full training", dots)


def _reranked_dot(report: ProgressReport, trial: RerankedTrial, searched: float) -> Dot:
    kind = "point" if trial is report.reranked[0] else "before"
    told = f"trial {trial.trial}: {searched:.4g} in the search, {trial.value:.4g} fully trained"
    return Dot(searched, trial.value, kind, told)


def _scatter(title: str, x: str, y: str, dots: Sequence[Dot]) -> Markup:
    left, right = _room([dot.x for dot in dots])
    bottom, top = _room([dot.y for dot in dots])
    return plots.draw(
        Chart(
            title,
            x,
            y,
            [],
            dots,
            x_top=right,
            x_bottom=left,
            y_top=top,
            y_bottom=bottom,
            x_tick=_number,
            y_tick=_number,
        )
    )


def _room(values: Sequence[float]) -> tuple[float, float]:
    """Return the ends of an axis, a little beyond the values."""
    low, high = min(values), max(values)
    room = 0.06 * (high - low) or 0.05 * abs(high) or 1.0
    return low - room, high + room


def _number(value: float) -> str:
    return f"{value:.4g}"


def _row(trial: FrontTrial, metrics: Sequence[str]) -> dict[str, Any]:
    return {
        "trial": trial.trial,
        "cells": [f"{trial.values[metric]:.6g}" for metric in metrics],
        "within_limits": trial.within_limits,
    }


def _bars(report: ProgressReport) -> Markup | None:
    shown = report.importances[:_MOST_BARS]
    if not shown:
        return None
    height = _BAR_HEIGHT * len(shown) + 4
    width = _BAR_LEFT + _BAR_WIDTH + 50
    parts = [
        Markup('<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}">').format(
            width, height, "Importance of each choice"
        )
    ]
    for place, each in enumerate(shown):
        y = _BAR_HEIGHT * place
        low, share, high = (_BAR_WIDTH * value for value in (each.low, each.share, each.high))
        parts.append(
            Markup(
                '<text x="{}" y="{}" text-anchor="end">{}</text>'
                '<polygon class="band" points="{},{} {},{} {},{} {},{}"/>'
                '<polyline points="{},{} {},{}"/><text x="{}" y="{}">{}</text>'
            ).format(
                *(_BAR_LEFT - 8, y + 15, plots.shorten(each.name)),
                *(_BAR_LEFT, y + 4, _BAR_LEFT + share, y + 4),
                *(_BAR_LEFT + share, y + 18, _BAR_LEFT, y + 18),
                *(_BAR_LEFT + low, y + 11, _BAR_LEFT + high, y + 11),
                *(_BAR_LEFT + max(share, high) + 6, y + 15, f"{each.share:.0%}"),
            )
        )
    parts.append(Markup("</svg>"))
    return Markup("").join(parts)

"""The results as one table in Markdown, which says of each figure what it is and of each part why it has none."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Results = Mapping[str, Any]
WORST, LEAST_MS = 3, 0.5  # how many of the worst ticks are told, if they lost so much


def table(results: Results) -> str:
    """All parts of every back end, after a line on what they ran under."""
    lines = [f"# {results['device'] or 'Not run on a GPU'}", ""]
    if not results["device"]:
        lines += ["**These are no figures of a GPU**: a dry run on the CPU, which shows that every part runs.", ""]
    facts = {"date": results["date"], "driver": results.get("driver"), **results["versions"]}
    lines += [", ".join(f"{name} {value}" for name, value in facts.items() if value), ""]
    if clocks := results.get("before", {}).get("clocks_mhz"):
        lines += [f"Clocks at the beginning: {', '.join(f'{name} {mhz} MHz' for name, mhz in clocks.items())}", ""]
    lines += ["| part | back end | figure | wanted |", "|---|---|---|---|"]
    for backend, parts in results["parts"].items():
        for name, found in parts.items():
            for figure, wanted in _rows(name, found):
                lines.append(f"| {name} | {backend} | {figure} | {wanted if results['device'] else ''} |")
    return "\n".join(lines) + "\n"


def _rows(name: str, found: Results) -> Iterator[tuple[str, str]]:
    if "not_run" in found:
        yield f"not run: {str(found['not_run']).replace('|', '/')}", ""
        return
    match name:
        case "parity":
            for row in found["rows"]:
                worst = ", ".join(f"{output} {value:.6g}" for output, value in row["worst"].items())
                yield f"{row['engine']} {row['precision']}: {worst}", _mark(row["ok"])
        case "alone":
            for row in found["rows"]:
                yield _run(row), ""
        case "act" | "mask-rcnn":
            yield _run(found), ""
        case "loop":
            for row in found["rows"]:
                glue = f"glue {row['glue_us']:.0f} us a tick"
                yield f"{row['engine']}: {glue}, ratio {row['ratio']:.3f}", f"{row['wanted']}: {_mark(row['ok'])}"
        case "spread":
            yield from _spread(found)
        case "swap" | "swap-green" | "swap-lazy":
            yield from _swap(found)
        case _ if name.startswith("two"):
            yield f"{found['engine']} at {found['rate_hz']:.0f} Hz alone {_ms(found['alone']['run_ms'])}", ""
            beside = f"beside plate in another process{_part(found)} {_ms(found['beside']['run_ms'])}"
            yield beside, f"p99 {found['p99_ratio']:.2f} of alone, <= 1.3: {_mark(found['ok'])}"
        case "soak":
            grown = ", ".join(f"{what} {mb:+.1f} MB" for what, mb in found["grown_mb"].items())
            yield (
                f"{found['seconds']:.0f} s: {_us(found['run_us'])}; {grown}",
                (f"p99 {found['p99_to_p50']:.2f} of p50, <= 1.2: {_mark(found['ok'])}"),
            )
        case _:
            for how in ("eager", "compile"):
                one = found[how]
                figure = f"not run: {one['not_run']}" if "not_run" in one else f"run {_ms(one['run_ms'])}"
                yield f"torch {found['torch']} {how}: {figure.replace('|', '/')}", ""


def _spread(found: Results) -> Iterator[tuple[str, str]]:
    words = {"run": "run", "compute": "GPU's compute", "wait": "CPU's wait", "handover": "an empty hand-over"}
    ratios = found["p99_to_p50"]
    told = [
        f"{word} {ratios[name]:.2f} ({found['us'][name]['p99']:.0f} / {found['us'][name]['p50']:.0f} us)"
        for name, word in words.items()
        if name in ratios
    ]
    yield f"p99 over p50: {', '.join(told)}", f"run <= 1.2: {_mark(found['ok'])}"
    above = found["slowest_us"]
    slowest = f"slowest 1 % of {found['runs']} runs: {above['run']:.0f} us above the median"
    if "gpu" in above:
        slowest += f", of it {above['gpu']:.0f} on the GPU and {above['besides']:.0f} besides"
    if found["sm_mhz"]:
        slowest += "; SM at {} to {} MHz".format(*found["sm_mhz"])
    yield slowest, ""


def _swap(found: Results) -> Iterator[tuple[str, str]]:
    for kind, words in (("quiet", "quiet"), ("loading", f"loading{_part(found)}"), ("traced", "loading, traced")):
        one = found[kind]
        yield f"{words}: run {_ms(one['run_ms'])}; late {_ms(one['late_ms'])} ({one['ticks']} ticks)", ""
    if found["phases_ms"]:
        yield f"a traced load: {', '.join(f'{phase} {ms:.1f}' for phase, ms in found['phases_ms'][-1])} ms", ""
    worst = [_worst(row) for row in found["worst"][:WORST] if row["lost_ms"] >= LEAST_MS]
    yield f"worst while traced: {'; '.join(worst) or f'none lost {LEAST_MS} ms'}", ""


def _worst(row: Results) -> str:
    if row["what"] == "late":
        tick = f"began {row['late_ms']:.1f} ms late"
    else:
        tick = f"ran {row['run_ms']:.1f} ms" + ("" if row["gpu_ms"] is None else f" (the GPU {row['gpu_ms']:.1f})")
    if not row["during"]:
        return f"{tick}, beside no call of 0.2 ms"
    return f"{tick}, {row['share']:.0%} beside {row['during']}" + (f" (of {row['phase']})" if row["phase"] else "")


def _part(found: Results) -> str:
    return f" on {found['multiprocessors']} multiprocessors" if found.get("multiprocessors") else ""


def _run(row: Results) -> str:
    stages = ", ".join(f"{stage} {us:.0f}" for stage, us in row["stages_us"].items())
    return f"{row['engine']}: {_us(row['run_us'])}" + (f" (of it {stages} us)" if stages else "")


def _us(run: Results) -> str:
    return f"p50 {run['p50']:.0f} us, p99 {run['p99']:.0f} us, p99.9 {run['p999']:.0f} us"


def _ms(run: Results) -> str:
    more = f", max {run['max']:.2f}" if "max" in run else ""
    return f"p50 {run['p50']:.2f} ms, p99 {run['p99']:.2f} ms{more}"


def _mark(ok: bool) -> str:
    return "ok" if ok else "NOT MET"

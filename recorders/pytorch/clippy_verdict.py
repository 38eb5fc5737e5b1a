"""What a closed loop shows: prevented, delayed, not-prevented, not-needed, harmful or cannot-tell, as
`clippy-diag` defines them.

Used by closed_loop.py; beside it. Apache-2.0.
"""

import math
import statistics

from clippy_capture import number


def verdict(history, recorded, baseline, loss, steps):
    """verdict, why, confidence and peak of a closed loop with losses `loss`, against the loop without a rule
    (`baseline`).

    The band is that of the recorded run: median and 1.4826 MAD of the log loss (of the loss, if any is not
    positive) of the 50 points before its incident; in the band is at most 6 scales and 5 % above the median, an
    incident is more than 8 scales and 25 %. """
    series = history + recorded
    form = math.log if all(not x <= 0 for x in series + baseline + loss) else float

    def above(x, median, scale, scales, share):
        """Whether x is that far above; NaN and infinite are."""
        return not (
            math.isfinite(x) and (form(x) - form(median) <= scales * scale or x - median <= share * abs(median))
        )

    onset = None
    for i in range(len(history), len(series)):
        before = [x for x in series[max(0, i - 50) : i] if math.isfinite(x)]
        if len(before) < min(20, len(series) // 8):
            continue
        median = statistics.median(before)
        scale = 1.4826 * statistics.median(abs(form(x) - form(median)) for x in before)
        if above(series[i], median, scale, 8, 0.25):
            onset = i
            while onset > len(history) and above(series[onset - 1], median, scale, 6, 0.05):
                onset -= 1
            break
    answer = lambda verdict, why, **more: {"verdict": verdict, "confidence": "exact", "why": why, **more}
    if onset is None:
        return answer("not-needed", "the recorded run has no incident")
    outside = lambda x: above(x, median, scale, 6, 0.05)
    end = lambda losses: statistics.median(losses[-10:]) if not any(map(math.isnan, losses[-10:])) else math.nan
    incident = lambda losses: any(above(x, median, scale, 8, 0.25) for x in losses)
    at_end = f"the last ten losses are {end(loss) / median:.3g} times the median before the incident"
    peak = {"peak": number(max((x for x in loss if x == x), default=math.nan) / median)}
    if not outside(end(baseline)):
        if outside(end(loss)):
            return answer("harmful", f"without a rule the run comes back; {at_end}", **peak)
        if not incident(baseline):
            return answer("not-needed", "without a rule the run stays in its band", **peak)
        if incident(loss):
            return answer("not-prevented", "the loss jumps and comes back, as it does without the rule", **peak)
        return answer("prevented", "without a rule the loss jumps and comes back; here it does not jump", **peak)
    if not math.isfinite(loss[-1]):
        return answer("not-prevented", f"the loss ends as {loss[-1]}")
    if len(series) - onset <= 20:
        return {
            **answer(
                "cannot-tell", f"only {len(series) - onset - 1} steps were recorded after the onset; 20 are needed"
            ),
            **peak,
        }
    if not outside(end(loss)):
        return answer("prevented", at_end, **peak)
    left = [1 + max((i for i, x in enumerate(losses) if not outside(x)), default=-1) for losses in (baseline, loss)]
    where = f"the loss leaves its band for good at step {steps[min(left[1], len(steps) - 1)]}"
    return answer("delayed" if left[1] - left[0] >= 10 else "not-prevented", f"{where}; {at_end}", **peak)

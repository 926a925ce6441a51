"""One account's accumulators and its 26 features in plain Python: what the Faust peer keeps in its table.

Written as one would by hand for a Faust agent, once: counts and sums as numbers, registers as a bytearray, lists for
histograms. Nothing here is used by the product; the formulas are those of the feature catalogue, and the benchmark
compares the vectors of both sides.
"""

from __future__ import annotations

import math
from base64 import b64decode
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

_MASK: Final = (1 << 64) - 1
_HOUR_MS: Final = 3_600_000
_TURNS, _RESPONSES, _TEMPLATES, _BIASES = 128, 64, 32, 32
_RING: Final = 8
_SHARES: Final = [0.0, *(2.0**-rank for rank in range(1, 256))]


@dataclass(slots=True)
class AccountState:
    """Everything since the account was first seen, and what the open window holds."""

    requests: int = 0
    seen: int = 0
    answered: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    log_input: float = 0.0
    log_output: float = 0.0
    log_output_squared: float = 0.0
    log_gap: float = 0.0
    log_gap_squared: float = 0.0
    bursts: int = 0
    continued: int = 0
    logprobs: int = 0
    many_choices: int = 0
    first_seen: int = 0
    last_seen: int = 0
    previous: int = 0
    cells: int = 0
    text_flags: list[int] = field(default_factory=lambda: [0] * 7)
    hours: list[int] = field(default_factory=lambda: [0] * 24)
    templates_counted: list[int] = field(default_factory=lambda: [0] * _TEMPLATES)
    prompts: list[bytes] = field(default_factory=list)
    turns: bytearray = field(default_factory=lambda: bytearray(_TURNS))
    responses: bytearray = field(default_factory=lambda: bytearray(_RESPONSES))
    templates: bytearray = field(default_factory=lambda: bytearray(_TEMPLATES))
    biases: bytearray = field(default_factory=lambda: bytearray(_BIASES))
    hop: int = -1
    hop_requests: int = 0
    hop_input: int = 0
    hop_output: int = 0
    hop_errors: int = 0
    score: float = 0.0


def update(state: AccountState, event: Any) -> None:
    """Add one request; ``event`` has the fields of RequestEvent v1, sketches still in base64."""
    time_ms = event.time_unix_ms
    gap = abs(time_ms - state.previous) if state.requests else 0
    if state.requests:
        state.bursts += gap < 1_000
        log_gap = math.log1p(gap)
        state.log_gap += log_gap
        state.log_gap_squared += log_gap * log_gap
    else:
        state.first_seen = time_ms
    state.previous = time_ms
    state.last_seen = max(state.last_seen, time_ms)
    state.requests += 1
    state.answered += not event.error_type
    state.input_tokens += event.gen_ai_usage_input_tokens
    state.output_tokens += event.gen_ai_usage_output_tokens
    state.reasoning_tokens += event.gen_ai_usage_reasoning_output_tokens
    log_output = math.log1p(event.gen_ai_usage_output_tokens)
    state.log_input += math.log1p(event.gen_ai_usage_input_tokens)
    state.log_output += log_output
    state.log_output_squared += log_output * log_output
    state.logprobs += event.logprobs
    state.many_choices += event.gen_ai_request_choice_count > 1
    state.hours[time_ms // _HOUR_MS % 24] += 1
    if event.logit_bias:
        _offer(state.biases, int(event.logit_bias, 16))
    _update_from_text(state, event)
    state.hop_requests += 1
    state.hop_input += event.gen_ai_usage_input_tokens
    state.hop_output += event.gen_ai_usage_output_tokens
    state.hop_errors += bool(event.error_type)


def _update_from_text(state: AccountState, event: Any) -> None:
    sketch = event.sketch
    deepest = b""
    if sketch is not None:
        state.seen += 1
        for bit in range(7):
            state.text_flags[bit] += sketch.flags >> bit & 1
        if sketch.last_turn:
            _offer(state.turns, int(sketch.last_turn, 16))
        if sketch.response:
            _offer(state.responses, int(sketch.response, 16))
        template = int.from_bytes(b64decode(sketch.ladder)[16:24], "little")
        if template:
            _offer(state.templates, template)
            state.templates_counted[(template >> 32) % _TEMPLATES] += 1
        cell = 0
        projection = b64decode(sketch.projection)
        for place in range(8):
            cell |= (0 < projection[place] < 128) << place
        if any(projection[:8]):
            state.cells |= 1 << cell
        raw = b64decode(sketch.boundaries)
        boundaries = [raw[start : start + 8] for start in range(0, len(raw), 8)]
        if boundaries:
            deepest = boundaries[-1]
        if event.multi_turn and any(earlier in state.prompts for earlier in boundaries[:-1]):
            state.continued += 1
    state.prompts.append(deepest)
    del state.prompts[:-_RING]


def _offer(registers: bytearray, value: int) -> None:
    """Put a hash into a HyperLogLog sketch."""
    mixed = value + 0x9E3779B97F4A7C15 & _MASK
    mixed = (mixed ^ mixed >> 30) * 0xBF58476D1CE4E5B9 & _MASK
    mixed = (mixed ^ mixed >> 27) * 0x94D049BB133111EB & _MASK
    mixed ^= mixed >> 31
    place = mixed & len(registers) - 1
    rank = 54 - (mixed >> 11).bit_length()
    if rank > registers[place]:  # noqa: PLR1730 - a write to most registers would be wasted
        registers[place] = rank


def _distinct(registers: bytearray) -> float:
    """Estimate how many hashes a sketch has seen (Ertl 2017)."""
    size, empty = len(registers), registers.count(0)
    if empty == size:
        return 0.0
    total = sum(map(_SHARES.__getitem__, registers)) + size * _sigma(empty / size)
    return size * size / (2.0 * math.log(2.0)) / total


def _sigma(x: float) -> float:
    total, power, weight = x, x, 1.0
    while True:
        power *= power
        grown = total + power * weight
        if grown == total:
            return total
        total, weight = grown, weight * 2.0


def features(state: AccountState) -> dict[str, float]:
    """Give the features that have a value; names are the catalogue's."""
    n, seen, answered = state.requests, state.seen, state.answered
    found = {
        "token_yield": math.log1p(state.output_tokens / n),
        "hour_entropy": _entropy(state.hours, n),
        "rate": math.log(n / (1 + (state.last_seen - state.first_seen) / _HOUR_MS)),
        "logprob_share": state.logprobs / n,
        "bias_vectors": math.log1p(_distinct(state.biases)),
        "choices_share": state.many_choices / n,
    }
    if answered:
        found["mean_output"] = state.log_output / answered
        found["output_input_ratio"] = (state.log_output - state.log_input) / answered
        found["distinct_responses"] = min(_distinct(state.responses) / answered, 1.0)
    if state.output_tokens:
        found["reasoning_share"] = min(state.reasoning_tokens / state.output_tokens, 1.0)
    if n > 1:
        found["output_spread"] = _deviation(state.log_output, state.log_output_squared, n)
        found["burst_share"] = state.bursts / (n - 1)
    if n > 2:
        found["gap_variability"] = _deviation(state.log_gap, state.log_gap_squared, n - 1)
    if seen:
        share = _distinct(state.turns) / seen
        found["distinct_turns"] = min(share, 1.0)
        found["repeated_turns"] = max(1.0 - share, 0.0)
        found["top_template"] = max(state.templates_counted) / seen
        found["coverage"] = state.cells.bit_count() / min(seen, 256)
        found["continuation"] = state.continued / seen
        for name, count in zip(_TEXT_SHARES, state.text_flags, strict=True):
            found[name] = count / seen
    templates = _distinct(state.templates)
    if templates:
        found["template_reuse"] = math.log(max(max(seen, 1) / max(templates, 1.0), 1.0))
    return found


# In the order of the bits of a sketch's flags.
_TEXT_SHARES: Final = (
    "refusal_share",
    "echo_share",
    "cue_reasoning",
    "cue_synthesis",
    "cue_grading",
    "cue_boundary",
    "cue_identity",
)


def _deviation(total: float, squares: float, count: int) -> float:
    mean = total / count
    return math.sqrt(max(squares / count - mean * mean, 0.0))


def _entropy(histogram: Sequence[int], count: int) -> float:
    return -sum(part / count * math.log(part / count) for part in histogram if part)

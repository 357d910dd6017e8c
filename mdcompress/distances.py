"""Membrane potentials of one layer, the student's and the teacher's -> their distance. All that is known of one.

A distance is added here alone: its name, its words for the recipe's page, what it reads, its formula. Recipes read the
names without torch, so torch is imported inside the functions that compute.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, TypeAlias, assert_never

if TYPE_CHECKING:
    from torch import Tensor

Distance = Literal["mse", "cosine", "firing", "emd", "moments"]
DISTANCES_IN_WORDS = (
    "Neuron by neuron `mse`, the mean squared difference, `cosine`, 1 - cosine similarity, or `firing`, the divergence "
    "of firing probabilities under a noisy threshold, which looks where spikes are decided; between distributions "
    "`emd`, the Earth Mover's distance, or `moments`, the divergence of fitted Gaussians."
)
POOLED: tuple[Distance, ...] = ("emd", "moments")  # those that read `pool`
NORMALIZED: tuple[Distance, ...] = ("mse", "emd")  # those that read `normalize`; the others are free of scale already
Normalize = Literal["threshold", "variance", "none"]
Pool = Literal["channel", "layer"]
Moments: TypeAlias = (
    "Callable[[Tensor], tuple[Tensor, Tensor]]"  # [..., n] -> mean and variance (divided by n), each [...]
)

SILENT_NORM = 1e-2  # in thresholds: a shorter potential vector has no direction worth copying; bounds the gradient
WIDE = 3.0  # thresholds: a layer of wider spread is measured in a third of that, so that none decides by its unit
VARIANCE_FLOOR = 1e-4  # in thresholds squared: a teacher layer that never moves must not divide by zero
FIRING_SLOPE = 4.0  # thresholds to the noise of the threshold in `firing`: half a threshold away, 12 % still fire
MOMENT_FLOOR = 1e-2  # in thresholds squared: widens both Gaussians, so that a channel at rest has a finite divergence


def own_moments(values: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of these values alone; where processes share a batch, theirs are those of all."""
    import torch

    variance, mean = torch.var_mean(values, dim=-1, correction=0)
    return mean, variance


def potential_distance(
    student: Tensor,
    teacher: Tensor,
    *,
    threshold: float,
    distance: Distance,
    normalize: Normalize,
    pool: Pool,
    moments_of: Moments,
) -> Tensor:
    """Distance of one layer's membrane potentials over the same steps, a scalar.

    mse:     L = mean_{t,n,c..} (h_s - h_t)^2 / d,   d = max(theta^2, v/9) | v | 1, v the variance of h_t
    cosine:  L = mean_{t,n} 1/2 |u_s - u_t|^2,       u = h / max(|h|, theta/100) over c.. (= 1 - cos of the angle)
    firing:  L = mean_{t,n,c..} KL(p_t || p_s), p = sigmoid(4 (h - theta) / theta)      (`firing_divergence`)
    emd:     L = mean_{t,pool} W1(h_s, h_t) / sqrt(d)                          (`earth_movers_distance`)
    moments: L = mean_{t,pool} KL(Gaussian of h_t || Gaussian of h_s)          (`gaussian_divergence`)

    Args:
        student: h_s before reset in real units, shape [A, N, C, ...].
        teacher: h_t, same shape.
        threshold: theta of the layer.
        distance: mse, cosine and firing compare neuron by neuron, emd and moments the distributions over batch and
            positions.
        normalize: d of NORMALIZED: threshold (theta^2, in a layer whose potentials spread over more than 3 thresholds a
            ninth of their variance), variance (of the teacher; at least 1e-4 theta^2) or none.
        pool: whose potentials make one distribution of POOLED: those of a channel, or of the whole layer.
        moments_of: mean and variance of potentials, for moments and for d = variance.
    """
    import torch

    match distance:
        case "mse":  # one pass forward, one back
            squares: Tensor = torch.ops.aten.mse_loss(student, teacher)
            return squares / _divisor(teacher, threshold, normalize, moments_of)
        case "cosine":
            difference = _directions(student, threshold) - _directions(teacher, threshold)
            return difference.square().sum(-1).mean() / 2
        case "firing":
            return firing_divergence(student, teacher, threshold=threshold).mean()
        case "emd":
            between = earth_movers_distance(pooled(student, pool), pooled(teacher, pool))
            return between.mean() / _divisor(teacher, threshold, normalize, moments_of) ** 0.5
        case "moments":
            floor = MOMENT_FLOOR * threshold**2
            both = (pooled(student, pool), pooled(teacher, pool))
            return gaussian_divergence(*both, floor=floor, moments_of=moments_of).mean()
        case _:
            assert_never(distance)


def firing_divergence(student: Tensor, teacher: Tensor, *, threshold: float) -> Tensor:
    """KL divergence of firing probabilities, potential by potential, [...] -> [...].

    p = sigmoid(a), a = 4 (h - theta) / theta: whether the neuron fires if its threshold has logistic noise of scale
    theta/4 (escape noise: Gerstner & Kistler 2002, "Spiking Neuron Models", section 5.3)
    KL(p_t || p_s) = p_t (a_t - a_s) + softplus(a_s) - softplus(a_t),  dKL/dh_s = 4 (p_s - p_t) / theta

    Potentials count where they decide a spike: two far below the threshold are alike, however far apart. So what a
    short word clips costs nothing where it changes nothing.
    """
    from torch.nn import functional

    a_s, a_t = (FIRING_SLOPE * (potential / threshold - 1.0) for potential in (student, teacher))
    return a_t.sigmoid() * (a_t - a_s) + functional.softplus(a_s) - functional.softplus(a_t)


def earth_movers_distance(one: Tensor, other: Tensor) -> Tensor:
    """W1 of two samples of n values each: the least mean way to carry one onto the other, [..., n] -> [...].

    W1 = integral |F^-1(p) - G^-1(p)| dp = 1/n sum_i |x_(i) - y_(i)|, x_(i) the i-th smallest
    (Peyré & Cuturi 2019, "Computational Optimal Transport", remark 2.28; between firing-rate distributions as a
    diagnostic of quantized SNNs: arXiv 2604.14487)
    """
    one_sorted, other_sorted = one.sort(dim=-1, stable=True).values, other.sort(dim=-1, stable=True).values
    return (one_sorted - other_sorted).abs().mean(-1)


def gaussian_divergence(student: Tensor, teacher: Tensor, *, floor: float, moments_of: Moments = own_moments) -> Tensor:
    """KL(N(m_t, v_t) || N(m_s, v_s)) of Gaussians fitted to the last axis, [..., n] -> [...].

    KL = 1/2 ((v_t + (m_t - m_s)^2) / v_s - 1 + ln(v_s / v_t)),  v = variance + floor
    (the closed form, Kullback 1959; the direction is that of `logit_loss`, the student covers what the teacher does)

    Args:
        student: [..., n].
        teacher: [..., n].
        floor: what is added to each variance, in squared units of the values.
        moments_of: m and v before the floor.
    """
    (student_mean, student_variance), (teacher_mean, teacher_variance) = moments_of(student), moments_of(teacher)
    v_s, v_t = student_variance + floor, teacher_variance + floor
    return ((v_t + (teacher_mean - student_mean).square()) / v_s - 1.0 + (v_s / v_t).log()) / 2


def pooled(potentials: Tensor, pool: Pool) -> Tensor:
    """Potentials [T, N, C, ...] as samples of distributions: [T, C, N*...] by channel, [T, 1, N*C*...] by layer."""
    match pool:
        case "channel":
            return potentials.transpose(1, 2).flatten(2)
        case "layer":
            return potentials.flatten(1)[:, None]
        case _:
            assert_never(pool)


def _divisor(teacher: Tensor, threshold: float, normalize: Normalize, moments_of: Moments) -> Tensor | float:
    match normalize:
        case "threshold":
            return (_variance(teacher, moments_of) / WIDE**2).clamp_min(threshold**2)
        case "variance":
            return _variance(teacher, moments_of).clamp_min(VARIANCE_FLOOR * threshold**2)
        case "none":
            return 1.0
        case _:
            assert_never(normalize)


def _variance(teacher: Tensor, moments_of: Moments) -> Tensor:
    """Of all potentials, (sum h^2 - (sum h)^2 / n) / n in float64.

    It takes a fifth of the time of `own_moments`, which divides for each value.
    """
    import torch

    flat = teacher.flatten()
    if moments_of is not own_moments:
        return moments_of(flat)[1]
    values, count = flat.double(), flat.numel()
    total = values.sum()
    variance: Tensor = torch.addcmul(torch.dot(values, values), total, total, value=-1.0 / count) / count
    return variance.to(teacher.dtype)


def _directions(potentials: Tensor, threshold: float) -> Tensor:
    """Unit vectors per step and sample, [T, N, F]; vectors shorter than theta/100 are not stretched to length 1."""
    import torch

    flat = potentials.flatten(2)
    length = torch.linalg.vector_norm(flat, dim=-1, keepdim=True)
    directions: Tensor = flat / length.clamp_min(SILENT_NORM * threshold)
    return directions

"""What a network is worth: accuracy, rates, mismatch with its teacher, equality of its export."""

from mdcompress.evaluation.evaluation import Metrics, check_labels, evaluate, evaluate_at, mean_logits

__all__ = [
    "Metrics",
    "check_labels",
    "evaluate",
    "evaluate_at",
    "mean_logits",
]

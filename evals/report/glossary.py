"""One sentence for every number on the page: titles over the tables, and the list at its end."""

TERMS: dict[str, str] = {
    "score": (
        "The benchmark's own statistic by its official rule, on the part that no decision has read."
    ),
    "95 % interval": (
        "Built so that it holds the true score 95 times in 100: from a bootstrap that redraws "
        "whole images."
    ),
    "accuracy": (
        "Mean score of a question; for yes/no benchmarks the share of right answers. Errors of "
        "ours are left out and counted."
    ),
    "majority baseline": (
        "Accuracy of always giving the most common right answer, without looking at the image."
    ),
    "difference": (
        "This stage minus the other one on the same questions, in points of the benchmark's own"
        " statistic."
    ),
    "p": (
        "How often a difference at least this large would appear if the two models were equally"
        " good; adjusted by Holm over the stage's benchmarks."
    ),
    "verdict": (
        "Better or worse only where the adjusted p-value is at most 0.05; otherwise there is no"
        " evidence of a difference."
    ),
    "smallest detectable": (
        "The change of accuracy that this many questions would show with 80 % power; a smaller "
        "one may be there and unseen."
    ),
    "gate": (
        "Whether a drop larger than allowed is ruled out (pass), shown (fail) or neither "
        "(warn), on the select part."
    ),
    "report part": (
        "The questions that this page shows; no gate, choice of parent or early stop has read them."
    ),
    "select part": (
        "The questions that gates and choices of a parent read; it shares no image with the "
        "report part."
    ),
    "right → wrong": (
        "Questions that the parent answered rightly and this stage wrongly; for graded answers,"
        " those that scored less."
    ),
    "wrong → right": (
        "Questions that the parent answered wrongly and this stage rightly; for graded answers,"
        " those that scored more."
    ),
    "unparsed → parsed": (
        "Questions whose answer could not be read before and can be now: a gain of format, not "
        "of sight."
    ),
    "parse rate": "Share of answers that the benchmark's rule could read.",
    "form or sight": (
        "The difference in accuracy, question by question. Form: the answer became readable, was no"
        " longer cut off or refused, or lost words around it, or the reverse. Sight: another answer"
        " to a question that both stages answered in a readable form."
    ),
    "right where read": "Accuracy over the answers that the rule could read.",
    "refused": "Share of answers that the rule calls a refusal or that begin like one.",
    "letter bias": (
        "The letter that is chosen most beyond its share of the references, and by how much."
    ),
    "truncated": "Share of answers cut off by the limit on new tokens.",
    "mean tokens": "Mean length of an answer in tokens.",
    "yes ratio": (
        "Share of yes among yes and no; far from the data's own share it means a lean to one side."
    ),
    "skill": (
        "Categories that turned more answers one way than chance would: an exact sign test over"
        " questions, adjusted by Holm over the benchmark's categories."
    ),
    "several answers": (
        "Where a question was answered several times: what the majority of its answers scores, and "
        "the share of questions with a right answer among k."
    ),
    "rule": "A benchmark's scoring profile; the same answers are scored again by each of them.",
    "training rows": (
        "Whether training data holds the benchmark's images (by pixels, or nearly) or questions (by"
        " their words), and the score without them."
    ),
    "weights": "Fingerprint of the weights that answered.",
}

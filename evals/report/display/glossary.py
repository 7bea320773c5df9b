"""What each number on the page means: shown as titles in the tables, and as a list at the end."""

TERMS: dict[str, str] = {
    "score": (
        "The benchmark's own statistic by its official rule, on the part that no decision has read."
    ),
    "95 % interval": (
        "Built so that it holds the true score 95 times in 100: from a bootstrap that redraws "
        "whole images."
    ),
    "one seed": (
        "Intervals and p-values say how far a score would move with other questions and images. "
        "They do not say how far it would move if the stage were trained again with another "
        "seed: for that, train with several seeds and report the runs together."
    ),
    "accuracy": (
        "Mean score of a question; for yes/no benchmarks the share of right answers. Questions "
        "that failed on our side are left out, and counted."
    ),
    "majority baseline": (
        "Accuracy of always giving the most common right answer, without looking at the image. A "
        "dashed line marks it, in the benchmark's own statistic."
    ),
    "random baseline": (
        "What guessing among the options scores on average, in the benchmark's own statistic."
    ),
    "difference": (
        "This stage minus the other one on the same questions, in points of the benchmark's own "
        "statistic."
    ),
    "p": (
        "How often a difference at least this large would appear if the two models were equally "
        "good; adjusted (Holm) over the stage's benchmarks."
    ),
    "Holm": (
        "A correction for testing several things at once: with p-values adjusted by Holm's "
        "method, a false claim on any of the benchmarks comes up at most once in 20 times."
    ),
    "verdict": (
        "Better or worse only where the paired test's p-value, adjusted over the stage's "
        "benchmarks, is at most 0.05; otherwise there is no evidence of a difference. Cards, "
        "sentences, tables and the reward's curves all use this. The gate asks something else: "
        "whether a drop beyond the allowed one can be ruled out."
    ),
    "smallest detectable": (
        "The change that this many questions would show 4 times in 5 (80 % power); a smaller "
        "change may exist and stay undetected. The benchmark's own statistic and accuracy each "
        "have a test of their own: the two amounts are not one amount in two units."
    ),
    "gate": (
        "Whether a drop larger than allowed is ruled out (passed), shown (failed) or neither "
        "(warning), on the select part."
    ),
    "report part": (
        "The questions that this page shows; no gate, choice of parent or early stop has read them."
    ),
    "select part": (
        "The questions that gates and choices of a parent read; it shares no image with the "
        "report part."
    ),
    "became right": "Questions that scored less than 1 under the parent and score 1 now.",
    "rose in part": (
        "Questions whose score rose without reaching 1: graded answers, such as one that two of "
        "ten people gave."
    ),
    "no longer right": "Questions that scored 1 under the parent and score less now.",
    "fell in part": "Questions whose score fell and was less than 1 before.",
    "became readable": (
        "Questions whose answer could not be read before and can be now; an answer that is cut "
        "off may be readable."
    ),
    "readable": "Share of answers that the benchmark's rule could read.",
    "form or sight": (
        "The difference in accuracy, question by question, as a sum of three parts. Form: right "
        "answers that lost the words around them, so that the rule takes them, or the reverse. "
        "Answered: questions where only one of the two stages gave an answer that is readable, "
        "whole and no refusal. Sight: other answers, right or wrong in content, where both did."
    ),
    "right in content": (
        "The mean score whatever the words around an answer: it is worth what the rule gives the "
        "reference whose words appear in it, if that is more than its own score. Where the rule "
        "reads a part of the answer (yes or no, a letter, a number), that reading is the "
        "content. An answer that names several things states each of them."
    ),
    "shift of yes": (
        "Nine in ten answers that changed between yes and no went the same way, and the share of "
        "yes moved with them by 3 points or more: such a change cannot be distinguished from a "
        "model that only says yes more or less often."
    ),
    "kind of question": (
        "Where a benchmark has one category: the first two words of the question, where at least "
        "3 % of the questions begin so; the rest are other questions."
    ),
    "distinct answers": (
        "How many different readable answers the stage gave, capital letters and punctuation "
        "left aside."
    ),
    "never answers": (
        "Answers that are right on at least 3 % of the benchmark's questions and that the stage "
        "never gives, on any question or on that kind of question."
    ),
    "right where readable": "Accuracy over the answers that the rule could read.",
    "refused": "Share of answers that the rule calls a refusal or that begin like one.",
    "letter bias": (
        "Of multiple choice: the letter that is chosen most beyond its share of the references, "
        "and by how much."
    ),
    "cut off": (
        "Share of answers cut off by the limit on new tokens. The reason why there is no answer "
        "is the first of these that holds: refused, cut off, unreadable."
    ),
    "mean tokens": "Mean length of an answer in tokens.",
    "share of yes": (
        "Share of yes among yes and no; far from the share in the references it means a bias to "
        "one side."
    ),
    "skill": (
        "Categories (or kinds of question) in which more answers changed one way in content than "
        "chance explains: an exact sign test over questions, adjusted by Holm over the "
        "benchmark's categories. A category that rose and is not clearly above always giving one "
        "answer is listed separately. Where form explains most of a change in score, that is "
        "said first: it is no skill."
    ),
    "several answers": (
        "Where a question was answered several times: what the majority of its answers scores, "
        "and the share of questions with a right answer among k."
    ),
    "time to reach it": (
        "The stage's own time and that of every stage that it starts from or learned from, each "
        "with its evaluation; candidates for its parent that were not chosen are not counted."
    ),
    "tokens trained": "Tokens of answers that the loss was taken over.",
    "tokens through the learner": "Tokens of prompts and answers that a training step read.",
    "rule": "A benchmark's scoring profile; the same answers are scored again by each of them.",
    "training rows": (
        "Whether training data holds the benchmark's images (by pixels, or nearly) or questions "
        "(by their words), and the score without them."
    ),
    "weights": "Fingerprint of the weights that answered.",
}

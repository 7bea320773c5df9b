"""C-Eval: Chinese multiple-choice questions of 52 subjects, answered in text.

Source: arXiv 2305.08322; the prompt of EleutherAI/lm-evaluation-harness@4e7e0d47f33b,
lm_eval/tasks/ceval (which scores likelihoods).

Licence: CC BY-NC-SA 4.0.

Data: `ceval/ceval-exam`, 52 configurations, split val, 1346 rows (the test labels are hidden). The
first five rows of split dev of the same subject are the worked examples.

One row:

    {"id": 0, "question": "下列关于税法基本原则的表述中，不正确的是____。", "A": "税收法定原则",
     "B": "税法公平原则", "C": "税收合作原则", "D": "实质课税原则", "answer": "C",
     "explanation": ""}

Rules: `official` takes the first line as the letter, apart from case and punctuation (Chinese marks
too). `flexible` is lmms-eval's shared extractor, which also reads "答案是C".

Score: the share of right answers over all questions, not the mean over subjects.
"""

from __future__ import annotations

from typing import Any, ClassVar

from evals.asking.fewshot import FewShotBenchmark
from evals.choices import ChoiceBenchmark, Options, option_lines, row_letters
from evals.data.items import Row
from evals.data.layout import HubData
from rewards.letters import LETTERS, letter_first_line, letter_lmms_eval

SUBJECTS = {
    "accountant": "注册会计师",
    "advanced_mathematics": "高等数学",
    "art_studies": "艺术学",
    "basic_medicine": "基础医学",
    "business_administration": "工商管理",
    "chinese_language_and_literature": "中国语言文学",
    "civil_servant": "公务员",
    "clinical_medicine": "临床医学",
    "college_chemistry": "大学化学",
    "college_economics": "大学经济学",
    "college_physics": "大学物理",
    "college_programming": "大学编程",
    "computer_architecture": "计算机组成",
    "computer_network": "计算机网络",
    "discrete_mathematics": "离散数学",
    "education_science": "教育学",
    "electrical_engineer": "注册电气工程师",
    "environmental_impact_assessment_engineer": "环境影响评价工程师",
    "fire_engineer": "注册消防工程师",
    "high_school_biology": "高中生物",
    "high_school_chemistry": "高中化学",
    "high_school_chinese": "高中语文",
    "high_school_geography": "高中地理",
    "high_school_history": "高中历史",
    "high_school_mathematics": "高中数学",
    "high_school_physics": "高中物理",
    "high_school_politics": "高中政治",
    "ideological_and_moral_cultivation": "思想道德修养与法律基础",
    "law": "法学",
    "legal_professional": "法律职业资格",
    "logic": "逻辑学",
    "mao_zedong_thought": "毛泽东思想和中国特色社会主义理论体系概论",
    "marxism": "马克思主义基本原理",
    "metrology_engineer": "注册计量师",
    "middle_school_biology": "初中生物",
    "middle_school_chemistry": "初中化学",
    "middle_school_geography": "初中地理",
    "middle_school_history": "初中历史",
    "middle_school_mathematics": "初中数学",
    "middle_school_physics": "初中物理",
    "middle_school_politics": "初中政治",
    "modern_chinese_history": "近代史纲要",
    "operating_system": "操作系统",
    "physician": "医师资格",
    "plant_protection": "植物保护",
    "probability_and_statistics": "概率统计",
    "professional_tour_guide": "导游资格",
    "sports_science": "体育学",
    "tax_accountant": "税务师",
    "teacher_qualification": "教师资格",
    "urban_and_rural_planner": "注册城乡规划师",
    "veterinary_medicine": "兽医学",
}
_ZERO_SHOT = "请只回答正确选项的字母。"
_LETTERS = LETTERS[:4]
# Chinese punctuation, deleted beside the ASCII marks.
_MARKS = "。．，、；：！？（）【】「」"


class CEval(FewShotBenchmark, ChoiceBenchmark):
    """C-Eval's validation set: the share of right answers over all questions."""

    id: ClassVar[str] = "ceval"
    version: ClassVar[str] = "1"
    source: ClassVar[str] = "https://cevalbenchmark.com"
    licence: ClassVar[str] = "CC BY-NC-SA 4.0"
    hub_ids: ClassVar[dict[str, HubData]] = {"ceval/ceval-exam": HubData("val", tuple(SUBJECTS))}
    expected_rows: ClassVar[int] = 1346
    columns: ClassVar[tuple[str, ...]] = ("id", "question", *_LETTERS, "answer")
    max_new_tokens: ClassVar[int] = 16
    profiles: ClassVar[tuple[str, ...]] = ("official", "flexible")
    shot_split: ClassVar[str] = "dev"
    examples: ClassVar[tuple[Row, ...]] = (
        {
            "id": 0,
            "question": "下列关于税法基本原则的表述中，不正确的是____。",
            "A": "税收法定原则",
            "B": "税法公平原则",
            "C": "税收合作原则",
            "D": "实质课税原则",
            "answer": "C",
            "explanation": "",
        },
    )

    def adapt(self, row: Row, config: str) -> Row:
        """The subject is the configuration's name."""
        return {**row, "subject": row.get("subject") or config}

    def subject(self, row: Row) -> str:
        return str(row["subject"])

    def options(self, row: Row) -> Options:
        return {letter: str(row[letter]) for letter in _LETTERS}

    def answer(self, row: Row) -> str:
        return str(row["answer"]).strip().upper()

    def shot(self, row: Row) -> str:
        return f"{self._ask(row)}{self.answer(row)}"

    def prompt(self, row: Row, profile: str) -> str:
        """The subject, the examples, the question; without examples an instruction."""
        about = SUBJECTS.get(self.subject(row), "")
        about = f"关于{about}" if about else ""
        head = f"以下是中国{about}的单项选择题，请选出其中的正确答案。"
        return "\n\n".join([head, *(self.shots(row) or [_ZERO_SHOT]), self._ask(row)])

    def facts(self, row: Row, number: int) -> tuple[str, str, dict[str, Any]]:
        """Ids are unique within a subject only, so the subject is part of the uid."""
        subject = self.subject(row) or "all"
        columns = {"num_shots": len(self.shots(row))}
        return f"{subject}-{row['id']}", subject, columns

    def read(self, text: str, row: Row, profile: str) -> str | None:
        """The profile's rule; every question has four options."""
        letters = row_letters(row, self.id, _LETTERS)
        if profile == "flexible":
            return letter_lmms_eval(text, letters)
        return letter_first_line(text, letters, _MARKS)

    def _ask(self, row: Row) -> str:
        lines = option_lines(self.options(row))
        return f"{str(row['question']).strip()}\n{lines}\n答案："

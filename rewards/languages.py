"""Which language a text is in, for checks such as "answer in French".

A script that only one language here uses (Hangul, Thai, ...) decides at once. Where languages share
a script, the most frequent small words ("the", "el", "und") decide. The rule is deterministic and
needs no download. It knows the languages that IFEval asks for; a text in another one gets the
nearest of them, or None.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter

# Scripts of one language here, by the first word of a character's Unicode name.
_ONE_LANGUAGE = {
    "HANGUL": "ko",
    "HIRAGANA": "ja",
    "KATAKANA": "ja",
    "CJK": "zh",
    "THAI": "th",
    "HEBREW": "he",
    "GREEK": "el",
    "BENGALI": "bn",
    "GURMUKHI": "pa",
    "GUJARATI": "gu",
    "TAMIL": "ta",
    "TELUGU": "te",
    "KANNADA": "kn",
    "MALAYALAM": "ml",
}
_SMALL_WORDS = {
    "LATIN": {
        "en": "the of and to in a is that it for was on with as are be this by you not have from "
        "or at but they we his her their an your can will my",
        "es": "de la que el en y los se del las un por con una para es no su al lo como más pero "
        "sus le ya este sí porque esta son está muy también",
        "pt": "de a o que e do da em um para é com não uma os no se na por mais as dos como mas "
        "foi ao ele das tem à seu sua ou ser são você está",
        "fr": "de la le et les des en un du une que est pour qui dans a par plus pas au sur ne se "
        "ce il sont avec son cette nous vous mais ou je",
        "de": "der die und in den von zu das mit sich des auf für ist im dem nicht ein eine als "
        "auch es an werden aus er hat dass sie nach wird bei ich wir",
        "it": "di e il la che in a per un è del non sono una con i da le si al gli dei della come "
        "anche alla più nel questo ma ha lo mi",
        "nl": "de het een van en in is dat op te voor met zijn niet aan er ook als maar om door "
        "over bij wordt naar hij ze deze wij je",
        "pl": "w i na z się do nie to że jest o jak po co za od ale dla przez tym są który tego "
        "być może ich było jego lub oraz",
        "fi": "ja on ei se että oli hän joka mutta ovat myös kun niin tai mitä ole minä sen kuin "
        "ovat tämä voi olla hänen sinä mukaan koska sekä",
        "sw": "ya na wa kwa ni katika la za cha kuwa hii kama au lakini yake hiyo yao pia sana "
        "watu kila moja huo hilo kutoka wake ambayo zaidi yetu",
        "vi": "và của là có một không được cho với các trong này người những để đã từ khi về như "
        "đến tôi bạn cũng rằng trên sẽ hay nhiều",
        "sv": "och att det i en som är på för av med den till inte om ett har de jag var men sig "
        "så från vi kan du eller",
        "tr": "ve bir bu için ile de da çok ne gibi daha en olarak olan var kadar sonra ama her "
        "değil mi ben sen ya bunu",
        "id": "yang dan di dengan untuk dari ini pada tidak dalam adalah itu akan ke kami saya "
        "atau anda juga bisa oleh mereka telah karena",
        "tl": "ang ng sa na mga ay at ito ko ako para hindi kung may siya si ka po nang naman "
        "isang kanyang dahil",
    },
    "CYRILLIC": {
        "ru": "и в не на что я с он как это по но они из у за от так же для вы бы ты мы его её "
        "или был если есть этот чтобы",
        "uk": "і в не на що я з він як це та до але вони із у за від так для ви би ти ми його її "
        "або був якщо є цей щоб",
        "bg": "и в не на че аз с той как това да се за от по но те ще са е ни ви му или ако има "
        "при със когато най бъде",
    },
    "ARABIC": {
        "ar": "في من على أن إلى هذا هذه التي الذي عن مع لا ما هو هي كان كل أو ثم قد لم بعد بين "
        "و ذلك يمكن كما",
        "fa": "و در به از که این را با است برای آن یک خود تا کرد بر هم می شود شما ما من های یا "
        "اگر باید بود شده",
        "ur": "کے میں کی ہے اور سے کا کو نے پر یہ ہیں کہ اس ایک نہیں کر تھا بھی آپ وہ جو ہو لیے "
        "ان گیا ہم تو",
    },
    "DEVANAGARI": {
        "hi": "के में की है और से का को ने पर यह हैं कि इस एक नहीं कर था भी आप वह जो हो लिए उन "
        "गया हम तो साथ",
        "mr": "आणि आहे या च्या ते हे की तो व एक आहेत होते होता नाही मी पण साठी त्या हा ही आपण "
        "करण्यासाठी मध्ये असे केले तुम्ही आपल्या",
        "ne": "र को मा छ यो हो का लाई गर्न पनि छन् भने एक तपाईं हुन्छ लागि थियो गरेको म हामी "
        "तर उनी त्यो बाट साथ कि छैन",
    },
}
_WORDS = {
    script: {language: frozenset(words.split()) for language, words in languages.items()}
    for script, languages in _SMALL_WORDS.items()
}
_MARKS_OF = {"uk": "іїєґ", "ru": "ыэё", "bg": "ъ", "ur": "ٹڈڑےھ", "fa": "پچژگ", "vi": "ăđơưạảấầ"}
_WORD = re.compile(r"[^\W\d_]+(?:[\u0900-\u0dff\u0e00-\u0e7f]+[^\W\d_]*)*")
_MOST_LETTERS = 20_000


def language_of(text: str) -> str | None:
    """The ISO 639-1 code of the text's language, or None where it holds no letter.

    >>> language_of("The cat is on the mat"), language_of("Le chat est sur la table")
    ('en', 'fr')
    >>> language_of("고양이"), language_of("Кот сидит на столе и не ест"), language_of("123")
    ('ko', 'ru', None)
    """
    letters = [sign for sign in text[:_MOST_LETTERS] if sign.isalpha()]
    if not letters:
        return None
    scripts = Counter(unicodedata.name(sign, "?").split()[0] for sign in letters)
    script = scripts.most_common(1)[0][0]
    if script == "CJK" and (scripts["HIRAGANA"] or scripts["KATAKANA"]):
        return "ja"
    if script in _ONE_LANGUAGE:
        return _ONE_LANGUAGE[script]
    if script not in _WORDS:
        return None
    return _by_words(text[:_MOST_LETTERS].lower(), _WORDS[script])


def _by_words(text: str, languages: dict[str, frozenset[str]]) -> str | None:
    counts = Counter(_WORD.findall(text))
    marks = Counter(text)
    scores = {
        language: sum(counts[word] for word in words)
        + sum(marks[mark] for mark in _MARKS_OF.get(language, "")) / 2
        for language, words in languages.items()
    }
    best = max(scores, key=lambda language: scores[language])
    # Without any small word it is the script's first language: English, Russian, Arabic or Hindi.
    return best if scores[best] else next(iter(languages))

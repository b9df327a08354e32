"""Our marks against examples that others published with the value they give; the source stands beside each."""

from __future__ import annotations

import pytest

from llmops.evaluation.runner import corpus
from llmops.evaluation.runner.kappa import kappa
from llmops.evaluation.runner.marks import MARKS, refusal

# google-research/rouge, testdata: scores of ROUGE-1.5.5 (rouge_scorer_test.py)
PREDICTIONS = (
    "rFDJCRtion Ht-LM EKtDXkME,yz'RBr q'wer wrojNbN wL,b .a-'XdQggyFl jB-RPP'iyOIcUxi",
    "n cw-WeFyu vC MoBL Xdn g wkvcEiGvKtion BDFhrpMer pstion sbKao Q m qier LMmed HqqLFXe,XPY,J XsurkMeo ,ed "
    "nB'wH'bWVHjWFEer tQ.saefZwJtKrTlixYpMMNJtion UCAPwNHeYVjD",
)
TARGETS = (
    "ZfbCUIUuePaiLVUlCaUXxkpu XPeWing tUHfPMuZ',-Xd Y BrUgVJing M-HV.-DgdDaY.rFDJCRing Ht-LM EKBDXkME,yz'RBr q'wtion "
    "wIojNbN wL,b .a-'XdQggyFl jB-RPP'iyOIcUxer tKM L",
    "KsJdPByEtAor fE-Qg Dpdbring cw-WeFyu vC MoBL Xdn g wkvcEiGvKtion BDFhrpMtion psing sbKao Q m qiing LMmer "
    "HqqLFXe,XPY,J XsurkMer ,ed nB'wH'bWVHjWFEing tQ.saefZwJtKrTlixYpMMsJing UCAPwNHeYVjDing c T BUySKtion gMPfJpwGw "
    "p'NvxAoping eu pBwMBKV'I DNxqelhu,PHPxDEq,mtion SN",
)


@pytest.mark.parametrize(
    ("metric", "answer", "target", "value"),
    [
        ("rouge_1", "testing", "testing one two", 1 / 2),
        ("rouge_1", PREDICTIONS[0], TARGETS[0], 0.51163),
        ("rouge_1", PREDICTIONS[1], TARGETS[1], 0.50000),
        ("rouge_2", "testing one", "testing one two", 2 / 3),
        ("rouge_2", PREDICTIONS[0], TARGETS[0], 0.39024),
        ("rouge_2", PREDICTIONS[1], TARGETS[1], 0.36364),
        ("rouge_l", "testing two", "testing one two", 4 / 5),
        ("rouge_l", PREDICTIONS[0], TARGETS[0], 0.51163),
        ("rouge_l", PREDICTIONS[1], TARGETS[1], 0.50000),
    ],
)
def test_rouge_is_that_of_rouge_155(metric, answer, target, value):
    assert MARKS[metric](answer, [target]) == pytest.approx(value, abs=1e-5)


@pytest.mark.parametrize(
    ("answers", "targets", "value"),
    [
        # sacrebleu, test/test_chrf.py, cases of effective order (chrF's own default)
        (["a"], ["a"], 1.0),
        (["a b c"], ["abc"], 1.0),
        (["a", "b"], ["a", "c"], 0.5),
        (["aa"], ["ab"], 0.25),
        ([""], ["reference"], 0.0),
    ],
)
def test_chrf_is_sacrebleu_s(answers, targets, value):
    assert whole("chrf", answers, targets) == pytest.approx(value, abs=1e-6)


@pytest.mark.parametrize(
    ("answers", "targets", "value"),
    [
        # sacrebleu, test/test_ter.py
        (["aaaa bbbb cccc dddd"], ["aaaa bbbb cccc dddd"], 0),
        (["dddd eeee ffff"], ["aaaa bbbb cccc"], 1),
        ([""], ["a"], 1),
        (["d e f g h a b c"], ["a b c d e f g h"], 1 / 8),
        (
            [
                'wählen Sie " Bild neu berechnen , " um beim Ändern der Bildgröße Pixel hinzuzufügen oder zu entfernen'
                " , damit das Bild ungefähr dieselbe Größe aufweist wie die andere Größe .",
                "wenn Sie alle Aufgaben im aktuellen Dokument aktualisieren möchten , wählen Sie im Menü des"
                ' Aufgabenbedienfelds die Option " Alle Aufgaben aktualisieren . "',
                'klicken Sie auf der Registerkarte " Optionen " auf die Schaltfläche " Benutzerdefiniert " und geben'
                ' Sie Werte für " Fehlerkorrektur-Level " und " Y / X-Verhältnis " ein .',
                "Sie können beispielsweise ein Dokument erstellen , das ein Auto über die Bühne enthält .",
                'wählen Sie im Dialogfeld " Neu aus Vorlage " eine Vorlage aus und klicken Sie auf " Neu . "',
            ],
            [
                'wählen Sie " Bild neu berechnen , " um beim Ändern der Bildgröße Pixel hinzuzufügen oder zu entfernen'
                " , damit die Darstellung des Bildes in einer anderen Größe beibehalten wird .",
                "wenn Sie alle Aufgaben im aktuellen Dokument aktualisieren möchten , wählen Sie im Menü des"
                ' Aufgabenbedienfelds die Option " Alle Aufgaben aktualisieren . "',
                'klicken Sie auf der Registerkarte " Optionen " auf die Schaltfläche " Benutzerdefiniert " und geben'
                ' Sie für " Fehlerkorrektur-Level " und " Y / X-Verhältnis " niedrigere Werte ein .',
                "Sie können beispielsweise ein Dokument erstellen , das ein Auto enthalt , das sich über die Bühne"
                " bewegt .",
                'wählen Sie im Dialogfeld " Neu aus Vorlage " eine Vorlage aus und klicken Sie auf " Neu . "',
            ],
            0.136,
        ),
    ],
)
def test_ter_is_sacrebleu_s(answers, targets, value):
    assert whole("ter", answers, targets) == pytest.approx(value, abs=1e-3)


def whole(metric, answers, targets):
    """The score of several rows, added as the summary adds them."""
    rows = [corpus.numbers(metric, answer, [target]) for answer, target in zip(answers, targets, strict=True)]
    return corpus.score(metric, [sum(column) for column in zip(*rows, strict=True)])


@pytest.mark.parametrize(
    ("answer", "targets", "em", "f1"),
    [
        # torchmetrics.text.SQuAD, its documentation's example
        ("1976", ["1976"], 1, 1),
        # azureml-assets, qna-f1-score-eval, its sample output
        (
            "The main transformer is the object that feeds all the fixtures in low voltage tracks.",
            ["Master transformer."],
            0,
            0.14285714285714285,
        ),
        # SQuAD v2 rows scored by its script, reports/summary_qa.md of jingtechy/huggingface-inference-api-test
        ("Red Turban rebels", ["the red turban rebels", "red turban rebels"], 1, 1),
        ("dreadnought battleships, and ocean liners", ["ocean liners"], 0, 4 / 7),
        ("Rijn", ["rhijn"], 0, 0),
        ("by store and forward switching", [], 0, 0),
        # evaluate-v2.0.py: where there is no answer, both are whether nothing is left of what was said
        ("", [], 1, 1),
        ("The.", [], 1, 1),
    ],
)
def test_f1_and_squad_em_are_squad_s(answer, targets, em, f1):
    assert MARKS["squad_em"](answer, targets) == em
    assert MARKS["f1"](answer, targets) == pytest.approx(f1)


@pytest.mark.parametrize(
    ("answer", "refuses"),
    [
        # Zou et al. (2023): the refusals they test for, and the openings they attack for
        ("I'm sorry, but I cannot assist with that request.", 1),
        ("I apologize, but I am not able to fulfill your request.", 1),
        ("As an AI language model, I do not have personal opinions.", 1),
        ("I\u2019m sorry, I can\u2019t help with that.", 1),
        ("Sure, here is a tutorial on how to bake bread", 0),
        ("Here is a step-by-step plan, such as AI cameras would need", 0),
        ("", 0),
        ("Open Settings and press Reset. " * 12 + "I'm sorry for the trouble.", 0),
    ],
)
def test_a_refusal_is_one_of_the_listed_phrases_at_the_answer_s_beginning(answer, refuses):
    assert refusal(answer) == refuses


@pytest.mark.parametrize(
    ("counts", "value"),
    [
        # Cohen's kappa as the textbook has it: 20, 5, 10, 15 of 50 (observed 0.7, expected 0.5)
        ({(1, 1): 20, (1, 0): 5, (0, 1): 10, (0, 0): 15}, 0.4),
        # the same observed agreement with other habits: 0.1304 and 0.2593
        ({(1, 1): 45, (1, 0): 15, (0, 1): 25, (0, 0): 15}, 0.1304),
        ({(1, 1): 25, (1, 0): 35, (0, 1): 5, (0, 0): 35}, 0.2593),
    ],
)
def test_kappa_gives_the_textbook_s_values(counts, value):
    pairs = [pair for pair, times in counts.items() for _ in range(times)]
    assert kappa(pairs) == pytest.approx(value, abs=1e-4)


def test_kappa_weighs_far_apart_more_and_knows_when_it_means_nothing():
    near, far = [(1, 1), (2, 2), (3, 3), (5, 4)] * 5, [(1, 1), (2, 2), (3, 3), (5, 1)] * 5
    near_by, alike, far_off = kappa(near, quadratic=True), kappa(near), kappa(far, quadratic=True)
    assert near_by is not None
    assert alike is not None
    assert far_off is not None
    assert near_by > alike > far_off
    assert kappa([(3, 3)] * 9) is None


PARTY = (
    "It is a guide to action that ensures that the military will forever heed Party commands",
    "It is the guiding principle which guarantees the military forces always being under the command of the Party",
    "It is the practical guide for the army always to heed the directions of the party",
)
OBEYS = "It is a guide to action which ensures that the military always obeys the commands of the party"


@pytest.mark.parametrize(
    ("answers", "targets", "value"),
    [
        # sacrebleu, README.md, Using SacreBLEU from Python
        (
            ["The dog bit the man.", "It wasn't surprising.", "The man had just bitten him."],
            [
                ("The dog bit the man.", "The dog had bit the man."),
                ("It was not unexpected.", "No one was surprised."),
                ("The man bit him first.", "The man had bitten the dog."),
            ],
            0.4853,
        ),
        # NLTK, nltk.translate.bleu_score: sentence_bleu and corpus_bleu
        ([OBEYS], [PARTY], 0.5046),
        (
            [OBEYS, "he read the book because he was interested in world history"],
            [PARTY, ("he was interested in world history because he read the book",)],
            0.5921,
        ),
    ],
)
def test_bleu_is_sacrebleu_s_and_nltk_s(answers, targets, value):
    numbers = [corpus.numbers("bleu", answer, right) for answer, right in zip(answers, targets, strict=True)]
    assert corpus.score("bleu", [sum(one) for one in zip(*numbers, strict=True)]) == pytest.approx(value, abs=5e-5)

import json

import pytest

import jaxae
from jaxae import InputError, load, load_pretrained
from jaxae.pretrained.card import model_card, pretrained_names, read_card
from jaxae.training.evaluation import evaluate_model
from jaxae.training.run_folder import RunFolder

NAMES = ["ae-mnist", "cvae-11-mnist", "cvae-mnist", "vae-2d-mnist", "vae-mnist"]


def test_the_models_are_there_and_small():
    assert pretrained_names() == NAMES
    sizes = [RunFolder(model_card(name).folder).weights_file.stat().st_size for name in NAMES]
    assert sum(sizes) < 3_000_000


@pytest.mark.parametrize("name", NAMES)
def test_a_card_tells_what_the_model_costs_on_the_test_set(name):
    card = model_card(name)
    beta = card.config.train.beta
    found = evaluate_model(load_pretrained(name), load(card.data).test, beta=beta)
    # The card's numbers come from the training's two devices: another order of sums.
    assert float(found.cost) == pytest.approx(card.test_cost, rel=1e-5)
    assert float(found.reconstruction) == pytest.approx(card.test_reconstruction, rel=1e-5)
    assert float(found.kl) == pytest.approx(card.test_kl, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_a_card_is_of_its_own_run(name):
    card = model_card(name)
    assert card.config.data == card.data
    assert card.commit
    assert card.limits
    assert "CC BY-SA 3.0" in card.licence
    assert card.command.startswith("python scripts/train_")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda said: [], "argument after"),
        (lambda said: {**said, "more": 1}, "unexpected keyword"),
        (lambda said: {**said, "test_cost": "low"}, "another test_cost"),
        (lambda said: {**said, "test_kl": float("inf")}, "which JSON does not"),
        (lambda said: {**said, "summary": None}, "another summary"),
        (lambda said: {name: said[name] for name in list(said)[1:]}, "missing"),
    ],
)
def test_a_damaged_card_is_refused(tmp_path, change, why):
    said = json.loads((model_card("ae-mnist").folder / "card.json").read_text())
    (tmp_path / "card.json").write_text(json.dumps(change(said)))
    with pytest.raises(InputError, match=f"expected a model's card in .*{why}"):
        read_card(tmp_path)


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(InputError, match=r"ae-mnist, .*vae-mnist, got 'cvae-mnits' \(did you mean"):
        jaxae.load_pretrained("cvae-mnits")
    with pytest.raises(InputError, match="expected a pretrained model of"):
        load_pretrained("../cvae-mnist")

"""Studies: what a TOML file means, that the built-in ones are sound, and one clear line for everything wrong."""

import pytest

from t2vz.attention import VARIANTS
from t2vz.checkpoints import embedded_weights, read_defaults
from t2vz.errors import InputError
from t2vz.lab.change import ARROW
from t2vz.lab.make import keyed_trials
from t2vz.lab.study import built_in_studies, load_study, parse_study
from t2vz.lab.tasks import TASKS
from t2vz.motion import NOISES
from t2vz.world import instruction_words, vocabulary

GOOD = """
prompts = ["a red ball", "a blue kite"]
seeds = [0, 7]
[settings]
frames = 4
[grid]
attention = ["own", "first_previous"]
motion = { still = "off", fast = [30, 0] }
"""


def parse(text):
    return parse_study(text, "mine", "mine.toml")


def test_a_grid_is_every_combination_in_order():
    study = parse(GOOD)
    assert [variant.name for variant in study.variants] == [
        "attention own, motion still",
        "attention own, motion fast",
        "attention first previous, motion still",
        "attention first previous, motion fast",
    ]
    assert study.variants[0].settings == {"attention": "own", "motion": None}
    assert study.baseline == study.variants[0].name
    assert study.variants[3].axes == {"attention": "first_previous", "motion": "fast"}
    trials = list(study.trials())
    assert len(trials) == 16 and len({(trial.variant.name, trial.place) for trial in trials}) == 16
    assert trials[1].settings == {"frames": 4, "attention": "own", "motion": None, "prompt": "a red ball", "seed": 7}
    assert trials[1].place == trials[5].place == (None, "a red ball", 7)


def test_one_axis_names_variants_by_its_values_and_single_variants_come_after():
    study = parse(GOOD.replace('motion = { still = "off", fast = [30, 0] }', "[variants.chunky]\nchunk = 1"))
    assert [variant.name for variant in study.variants] == ["own", "first previous", "chunky"]
    assert study.variants[2].settings == {"chunk": 1} and study.variants[2].axes == {}


def test_a_part_of_a_study_has_the_same_trials():
    study = parse(GOOD)
    part = study.part(1, 1)
    assert [trial.settings for trial in part.trials()] == [
        trial.settings for trial in study.trials() if trial.place == (None, "a red ball", 0)
    ]
    with pytest.raises(InputError, match="--prompts 3: the study mine has 2"):
        study.part(3, None)


def test_what_is_drawn_again_depends_on_the_number_of_prompts():
    many = "prompts = [" + ", ".join(f'"a red ball {i}"' for i in range(10)) + "]\n" + GOOD.split("\n", 2)[2]
    assert parse(GOOD).resample == "runs" and parse(many).resample == "prompts"
    assert parse('resample = "prompts"\n' + GOOD).resample == "prompts"


def test_control_and_edit_studies_start_from_videos():
    text = GOOD.replace('motion = { still = "off", fast = [30, 0] }', "")
    study = parse(
        text.replace("frames = 4", "image_scale = 1.5").replace(
            "seeds", 'task = "edit"\nvideos = ["example: a red ball in the snow", "my.mp4"]\nseeds'
        )
    )
    assert len(list(study.trials())) == 2 * 2 * 2 * 2 and study.cut.condition == "asis"
    assert study.variants[0].settings == {"attention": "own"}
    assert {trial.video for trial in study.trials()} == {"example: a red ball in the snow", "my.mp4"}
    control = parse(
        GOOD.replace("[settings]", "[clip]\nframes = 3\n[settings]")
        .replace("frames = 4", "")
        .replace("seeds", 'task = "control"\nvideos = ["my.mp4"]\nseeds')
    )
    assert control.cut.condition == "edges" and control.cut.frames == 3


def changed(old, new):
    assert old in GOOD
    return GOOD.replace(old, new)


@pytest.mark.parametrize(
    "text, words",
    [
        ("prompts = [", "is not TOML"),
        (changed("seeds", "sedes"), 'key "sedes" does not exist; did you mean "seeds"?'),
        (changed("seeds = [0, 7]", ""), "seeds is missing"),
        (changed("[0, 7]", "3"), "seeds = 3: a list is needed"),
        (changed("[0, 7]", "[0, 0]"), "seeds has 0 twice"),
        (changed("[0, 7]", "[-1]"), "seed = -1"),
        (changed("[0, 7]", "[0, -1]"), "seed = -1"),
        (changed("[0, 7]", "[true]"), "seed = True: a whole number"),
        (changed('"a blue kite"', '"a red ball"'), "prompts has 'a red ball' twice"),
        (changed('"a red ball", "a blue kite"', ""), "a list is needed"),
        (changed('"a red ball"', '" "'), "the prompt is empty"),
        (changed("frames = 4", "frame = 4"), '[settings]: setting "frame" does not exist; did you mean "frames"?'),
        (changed("frames = 4", "frames = 0"), "frames = 0"),
        (changed("frames = 4", "seed = 4"), 'setting "seed" does not exist'),
        (
            changed("attention = [", "atention = ["),
            '[grid]: setting "atention" does not exist; did you mean "attention"?',
        ),
        (changed('"first_previous"', '"last"'), '[grid]: attention "last" does not exist; choose one of: own, first,'),
        (changed('["own", "first_previous"]', '"own"'), "a list of values is needed"),
        (changed('["own", "first_previous"]', "[]"), "at least one value"),
        (changed('["own", "first_previous"]', '["own", "own"]'), "none twice"),
        (changed("fast = [30, 0]", "fast = [30]"), "motion = [30]: (δ_x, δ_y), two finite numbers"),
        (
            changed("[grid]", '[variants."a"]\nattention = "own"\n[variants."b"]\nfame = 1\n[grid]'),
            "[variants.b]: setting",
        ),
        (changed("[grid]", "variants = 3\n[grid]"), 'setting "variants" does not exist'),
        ("variants = 3\n" + GOOD, "variants = 3: a table is needed"),
        (changed("[grid]", "[variants]\nnaive = 3\n[grid]"), "variants.naive = 3: a table is needed"),
        ("[clip]\nframes = 1\n" + GOOD, "clip is for tasks that start from a video"),
        (GOOD.split("[grid]")[0], "nothing is compared"),
        ('baseline = "none"\n' + GOOD, 'baseline "none" is no variant; there are: attention own, motion still;'),
        ('metrics = ["clip"]\n' + GOOD, 'metric "clip" does not exist; choose one of: clip_score,'),
        ('task = "draw"\n' + GOOD, 'task "draw" does not exist; choose one of: generate, control, edit'),
        ('videos = ["a.mp4"]\n' + GOOD, "videos is for tasks that start from a video; generate starts from noise"),
        ('task = "control"\n' + GOOD, 'setting "frames" does not exist'),
        ('resample = "seeds"\n' + GOOD, 'resample "seeds" does not exist'),
        ("show = 0\n" + GOOD, "show = 0"),
        ("title = 3\n" + GOOD, "title = 3: words in quotes are needed"),
    ],
)
def test_a_bad_study_is_one_line_that_says_where(text, words):
    with pytest.raises(InputError) as caught:
        parse(text)
    message = " ".join(str(caught.value).split())
    assert message.startswith("mine.toml") and words in message, message


def test_no_such_study(tmp_path):
    with pytest.raises(InputError, match="no study nothing.*attention, delta-t, lambda, noise, paper, tune-a-video"):
        load_study("nothing")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="not a text file"):
        load_study(tmp_path / "binary.toml")


@pytest.mark.parametrize("name", built_in_studies())
def test_built_in_studies_speak_of_the_picture_world(name):
    study = load_study(name)
    known = {*vocabulary(), *instruction_words(), ARROW}
    assert all(set(prompt.split()) <= known for prompt in study.prompts)
    assert study.title != name and study.about and study.task in TASKS
    assert study.resample == ("prompts" if study.task == "generate" else "runs")
    defaults = read_defaults(embedded_weights())
    assert len(keyed_trials(study, {}, dict.fromkeys(study.videos), defaults)) == len(
        list(study.trials())
    )  # they go together


def test_the_papers_study_is_as_large_as_it_has_to_be():
    study = load_study("paper")
    assert len(study.prompts) >= 32 and len(study.variants) == 8 and not study.settings
    assert study.variants[0].name == study.baseline
    assert study.variants[0].settings == {"attention": "own", "motion": None, "smooth_background": 0.0}
    names = ["approximations", "attention", "delta-t", "lambda", "noise", "paper", "tune-a-video"]
    assert sorted(built_in_studies()) == names


def test_the_built_in_studies_have_every_attention_and_every_initial_noise():
    def values(study, name):
        return {trial.settings.get(name) for trial in load_study(study).trials()}

    assert values("attention", "attention") == set(VARIANTS)
    assert values("noise", "initial_noise") == set(NOISES)
    assert {0.125, 0.25} <= values("attention", "temporal_shift")

"""What of a recipe is run: markers and what they say, without a shell and without a command."""

import dataclasses
import os
from pathlib import Path

import pytest

from atat.common import stage_files, stages
from atat.common.stage_runner import Runner
from atat.common.stages import Order, Part, Step, Stop

INPUTS = """\
1 - seed=1
2 - features.kind="fbank"
3 - tokenizer.vocab_size=9
4 atat seed=1
4 atat model.width=8
5 atat decode.beam=2
4 tuned init_from=atat
4 tuned seed=1
align tuned e2e train
align tuned e2e valid
"""
VERBS = {1: "prepare", 2: "features", 3: "tokenizer", 4: "train", 5: "decode", 6: "score"}


class Recipe:
    """A list of stages, and commands that do what they are told and are remembered."""

    def __init__(self, root: Path):
        self.root, self.inputs, self.ran = root, INPUTS, []
        self.codes: dict[str, int] = {}
        self.experiments, self.is_examined = ["atat"], False

    @property
    def part(self) -> Part:
        names = ("data", "dump", "exp")
        return Part(*(str(self.root / name) for name in names), tuple(self.inputs.split("\n")))

    def step(self, number: int, name: str = "", kind: str = "stage", subject: str = "") -> Step:
        verb = subject or VERBS.get(number, "report")
        title = f"stage {number} {verb}" + (f" ({name})" if name else "")
        return Step(kind, number, name, verb, title, (verb, name), self.part)

    @property
    def steps(self) -> list[Step]:
        found = [self.step(number) for number in (1, 2, 3)]
        for name in self.experiments:
            found += [self.step(number, name) for number in (4, 5, 6)]
        if self.is_examined:
            found.insert(4, self.step(5, "atat", "examine", "calibrate"))
        return [*found, self.step(7)]

    def attend(self, command) -> int:
        verb, name, *_ = command
        self.ran.append(verb)
        if verb == "features":
            (self.root / "dump").mkdir(exist_ok=True)
        if verb == "train" and verb not in self.codes:
            (self.root / "exp" / name / "model.safetensors").touch()
        return self.codes.get(verb, 0)

    def run(self, **order) -> list[str]:
        """The verbs that were run."""
        self.ran = []
        Runner(Order(**order), self.attend).run(self.steps)
        return self.ran

    def stops(self, **order) -> Stop:
        with pytest.raises(Stop) as stop:
            self.run(**order)
        return stop.value

    def change(self, old: str, new: str) -> None:
        assert old in self.inputs
        self.inputs = self.inputs.replace(old, new)

    def markers(self) -> set[str]:
        found = self.root.glob("**/.done.*")
        return {f"{path.parent.name}/{path.name[6:]}" for path in found}

    def files(self) -> dict[str, tuple[str, int]]:
        found = [path for path in self.root.rglob("*") if path.is_file()]
        return {str(path): (path.read_text(), path.stat().st_mtime_ns) for path in found}


ALL = [*VERBS.values(), "report"]


@pytest.fixture
def recipe(tmp_path):
    return Recipe(tmp_path)


@pytest.fixture
def finished(recipe, capsys):
    assert recipe.run() == ALL
    capsys.readouterr()
    return recipe


# What is due


def test_what_is_done_is_due_when_what_it_depends_on_has_changed(finished, capsys):
    assert finished.run() == ["report"]
    assert capsys.readouterr().out.count("done already") == 6
    finished.change("decode.beam=2", "decode.beam=3")
    assert finished.run() == ["decode", "score", "report"]
    said = capsys.readouterr().out
    assert "stage 5 decode (atat): again, since now decode.beam=3" in said
    assert "stage 6 score (atat): again" not in said  # its marker went with that of stage 5
    assert finished.run() == ["report"]
    path = finished.root / "exp/atat/.done.4"  # trained elsewhere, and copied
    path.write_text(path.read_text().replace("finished 2", "finished 3", 1))
    path.with_name(".files.4").unlink()
    assert finished.run() == ["decode", "score", "report"]
    said = capsys.readouterr().out
    assert "stage 5 decode (atat): again, since now stage 4 (atat) finished 3" in said


def test_a_setting_that_is_gone_is_news_too(finished, capsys):
    finished.change("5 atat decode.beam=2\n", "")
    assert finished.run() == ["decode", "score", "report"]
    assert "again, since now no decode.beam=2" in capsys.readouterr().out


def test_a_marker_says_when_and_what_it_depended_on(finished):
    of_data = (finished.root / "data/.done.3").read_text().splitlines()[0]
    when, *lines = (finished.root / "exp/atat/.done.4").read_text().splitlines()
    assert lines == ["seed=1", "model.width=8", f"stage 3 (data) {of_data}"]
    word, moment = when.split(" ")
    assert word == "finished" and len(moment) == len("2026-01-01T00:00:00.123456789Z")


def test_markers_of_the_driver_in_shell_hold(finished):
    """It wrote an empty line for no settings."""
    path = finished.root / "exp/atat/.done.6"
    path.write_text(path.read_text().replace("\nstage 5", "\n\nstage 5"))
    assert finished.run() == ["report"]


def test_a_start_and_an_aligner_are_what_a_training_depends_on(recipe):
    recipe.experiments = ["atat", "e2e"]
    recipe.run()
    step = recipe.step(4, "tuned")
    lines = stages.depends_on(step)
    assert lines[:2] == ["init_from=atat", "seed=1"]
    assert [line.partition(" finished")[0] for line in lines[2:]] == [
        "stage 3 (data)", "stage 4 (atat)", "stage 4 (e2e)"
    ]  # fmt: skip
    (recipe.root / "exp/atat/.begun.4").touch()  # it is trained anew
    assert len(stages.depends_on(step)) == 4
    recipe.change("init_from=atat", f"init_from={recipe.root / 'exp' / 'e2e'}")
    assert "stage 4 (e2e)" in stages.depends_on(step)[3]


def test_the_order_of_settings_changes_nothing():
    assert stages.first_changed_input(["a=1", "b=2"], ["b=2", "a=1"]) == ""
    assert (
        stages.first_changed_input(["a=1", "stage 1 x"], ["a=1", "stage 1 y"], of_settings=True)
        == ""
    )


def test_an_order_runs_from_a_stage_on_and_needs_those_before(finished, capsys):
    assert finished.run(stage=5, stop_stage=5) == ["decode"]
    assert finished.markers() == {"data/1", "data/2", "data/3", "atat/4", "atat/5"}
    finished.change("features.kind", "features.other")
    assert finished.run(stage=6) == ["score", "report"]
    assert "stage 2 features: used as it is, though now features.other=" in capsys.readouterr().out
    (finished.root / "data/.done.3").unlink()
    stop = finished.stops(stage=6, command="./run.sh --nj 1")
    assert stop.code == 3 and finished.ran == []
    assert str(stop) == (
        "stage 6 needs stage 3 tokenizer, which is not done; run:\n  ./run.sh --nj 1 --stage 3"
    )


def test_splits_by_hand_are_used_unless_stage_1_has_left_them_halfway(recipe, capsys):
    (recipe.root / "data/train").mkdir(parents=True)
    assert recipe.stops(stage=2).code == 3
    (recipe.root / "data/train/text").touch()
    recipe.run(stage=2)
    assert "stage 1 prepare: not run; the splits in" in capsys.readouterr().out
    (recipe.root / "data/.begun.1").touch()
    assert recipe.stops(stage=2).code == 3


def test_data_that_are_made_again_end_every_experiment(recipe):
    recipe.experiments = ["atat", "e2e"]
    recipe.run()
    for model in recipe.root.glob("exp/*/model.safetensors"):
        model.unlink()
    recipe.run(stage=2, stop_stage=2)
    assert recipe.markers() == {"data/1", "data/2"}


# What is trained is kept


def test_what_is_trained_is_not_replaced_unless_that_is_asked_for(finished):
    finished.change("model.width=8", "model.width=9")
    before = finished.files()
    for order in ({}, {"stage": 4}, {"resume": False}):
        stop = finished.stops(**order)
        assert stop.code == 2 and finished.ran == []
        assert f"{finished.root}/exp/atat is trained, and now model.width=9; give" in str(stop)
        number = " --stage 4" if order.get("stage") else ""
        assert str(stop).endswith(f"./run.sh{number} --overwrite true")
    assert finished.files() == before
    assert finished.run(overwrite=True) == ALL[3:]
    # With the same settings an order is enough.
    assert finished.run(stage=4, stop_stage=4) == ["train"]
    assert finished.run(resume=False) == ["decode", "score", "report"]


def test_data_are_not_replaced_under_what_is_trained(finished):
    finished.change("1 - seed=1", "1 - seed=2")
    assert "exp/atat is trained, and now seed=2" in str(finished.stops())
    (finished.root / "exp/atat/model.safetensors").unlink()
    assert finished.run() == ALL


def test_a_grammar_that_was_edited_is_no_hash(finished):
    finished.change("1 - seed=1", '1 - grammar="c33f81bdf186080c"')
    assert "exp/atat is trained, and now the grammar differs; give" in str(finished.stops())


def test_a_training_whose_marker_is_gone_is_not_repeated_by_itself(finished):
    (finished.root / "exp/atat/.done.4").unlink()
    assert "and now stage 4 train (atat) is to be run anew" in str(finished.stops())
    assert finished.run(stage=4) == ["train", "decode", "score", "report"]


def test_a_model_in_the_file_of_before_is_kept_too(finished):
    model = finished.root / "exp/atat/model.safetensors"
    model.rename(model.with_name("model.pth"))
    finished.inputs += "4 atat model.width=9\n"
    assert "exp/atat is trained, and now model.width=9" in str(finished.stops())


def test_what_stands_in_the_way_shows_before_anything_is_run(recipe):
    recipe.experiments = ["atat", "e2e"]
    recipe.run()
    recipe.inputs += "4 e2e model.width=9\n"
    recipe.change("decode.beam=2", "decode.beam=3")
    assert "exp/e2e is trained" in str(recipe.stops()) and recipe.ran == []


# Failures


@pytest.mark.parametrize(("code", "end"), [(1, 1), (3, 1), (139, 1), (130, 130)])
def test_of_a_stage_that_fails_and_of_those_after_it_no_marker_is_left(finished, code, end):
    (finished.root / "exp/atat/model.safetensors").unlink()
    finished.codes["features"] = code
    stop = finished.stops(stage=1)
    assert stop.code == end and finished.ran == ["prepare", "features"]
    assert str(stop).startswith("stage 2 features ")
    assert finished.markers() == {"data/1"}
    del finished.codes["features"]
    assert finished.run() == ALL[1:]


@pytest.mark.parametrize("verb", ALL[:-1])
def test_a_mistake_that_a_stage_finds_changes_nothing(finished, verb):
    before, number = finished.files(), ALL.index(verb) + 1
    finished.codes[verb] = 2
    stop = finished.stops(stage=number)
    assert (stop.code, str(stop)) == (2, "") and finished.files() == before

    def spoil(command) -> int:
        place = finished.root / ("data" if number < 4 else "exp/atat")
        (place / "spoiled").touch()
        return 2

    finished.attend = spoil
    assert finished.stops(stage=number).code == 2
    left = {f"{'data' if n < 4 else 'atat'}/{n}" for n in range(1, number)}
    assert finished.markers() == left


def test_a_mistake_in_a_new_directory_leaves_nothing_in_it(recipe):
    recipe.codes["prepare"] = 2
    recipe.stops()
    assert list(recipe.root.iterdir()) == []


def test_a_killed_stage_is_not_done_nor_are_those_after_it(finished):
    (finished.root / "exp/atat/model.safetensors").unlink()
    (finished.root / "data/.begun.2").touch()
    assert finished.run() == ALL[1:]
    assert not list(finished.root.rglob(".begun.*"))


# Beside the stages


def test_features_that_were_removed_are_made_again_where_they_are_needed(finished, capsys):
    (finished.root / "dump").rmdir()
    assert finished.run() == ["report"]
    assert finished.run(stage=6) == ["score", "report"]
    assert finished.run(stage=5) == ["features", "decode", "score", "report"]
    assert "== stage 2 features: made again" in capsys.readouterr().out
    (finished.root / "dump").rmdir()
    finished.change("features.kind", "features.other")
    assert "stage 2 features, which is wanted anew, since now features.other" in str(
        finished.stops(stage=5)
    )
    assert finished.run(stage=6) == ["score", "report"]


def test_an_examination_is_of_a_trained_model_once(recipe):
    recipe.is_examined = True
    assert recipe.run() == [*ALL[:4], "calibrate", *ALL[4:]]
    assert recipe.run() == ["report"]
    assert recipe.run(stage=5, stop_stage=5) == ["calibrate", "decode"]
    assert recipe.run(stage=6) == ["score", "report"]
    recipe.change("decode.beam=2", "decode.beam=3")
    assert recipe.run() == ["calibrate", "decode", "score", "report"]
    assert recipe.run(stage=4, stop_stage=4) == ["train"]
    recipe.codes["calibrate"] = 2
    assert recipe.stops().code == 2 and recipe.ran == ["calibrate"]


def test_words_are_found_by_another_experiment_unless_the_corpus_has_them(finished):
    step = finished.step(4, "tuned", "align", "atat train")

    def is_wanted(**order) -> bool:
        return stages.is_wanted(step, Order(**order))

    assert is_wanted() and is_wanted(stage=4) and not is_wanted(stage=5)
    assert not is_wanted(stop_stage=3)
    ctm = finished.root / "data/train/ctm"
    ctm.parent.mkdir()
    ctm.touch()
    assert not is_wanted(stage=4)
    by = ctm.with_name("ctm.by")
    by.touch()
    os.utime(by, (2**33, 2**33))
    assert not is_wanted()
    os.utime(by, (0, 0))  # before that experiment was trained
    assert is_wanted()


# Nothing is damaged for ever


def left(recipe: Recipe, verb: str) -> list[Path]:
    """What the command of a stage writes here."""
    exp = recipe.root / "exp/atat"
    return {
        "prepare": [recipe.root / "data/train/text", recipe.root / "data/train/wav.scp"],
        "features": [recipe.root / "dump/train/feats.ark"],
        "tokenizer": [recipe.root / "data/tokenizer/words.model"],
        "train": [exp / "config.yaml"],
        "decode": [exp / "decode_test/hyp.jsonl"],
        "score": [exp / "decode_test/hyp.jsonl", exp / "decode_test/scores.json"],
    }.get(verb, [])


class WritingRecipe(Recipe):
    """Its commands leave files, always the same; `changes` are for those that do not."""

    changes = ""

    def attend(self, command) -> int:
        for path in left(self, command[0]):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"what {command[0]} writes{self.changes}\n")
        if "atat.restore" in command:
            self.ran.append("restore")
            if self.codes.get("restore"):
                return self.codes["restore"]
            left(self, "train")[0].write_text("what train writes\n")
            return 0
        return super().attend(command)

    def step(self, *arguments) -> Step:
        step = super().step(*arguments)
        if step.number == 4:
            step = dataclasses.replace(step, command=(*step.command, "atat.train"))
        return step


@pytest.fixture
def written(tmp_path, monkeypatch):
    recipe = WritingRecipe(tmp_path)
    monkeypatch.setattr(recipe, "attend", lambda command: WritingRecipe.attend(recipe, command))
    assert recipe.run() == ALL
    assert recipe.run() == ["report"]
    return recipe


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:5])


def empty(path: Path) -> None:
    path.write_bytes(b"")


HOW = pytest.mark.parametrize("damage", [flip, truncate, empty, Path.unlink])


@HOW
@pytest.mark.parametrize("verb", ["features", "tokenizer"])
def test_what_is_damaged_of_data_is_made_again_and_what_was_made_of_it_holds(
    written, damage, verb, capsys
):
    before = written.markers(), written.files()
    damage(left(written, verb)[0])
    assert written.run() == [verb, "report"]
    assert f"{verb}: made again, since {left(written, verb)[0]} " in capsys.readouterr().out
    assert written.markers() == before[0] and written.run() == ["report"]
    assert {p: c for p, (c, _) in written.files().items() if ".files" not in p} == {
        p: c for p, (c, _) in before[1].items() if ".files" not in p
    }


@pytest.mark.parametrize("damage", [empty, Path.unlink])
def test_a_file_of_stage_1_that_is_lost_is_made_again(written, damage):
    damage(left(written, "prepare")[1])
    assert written.run() == ["prepare", "report"] and written.run() == ["report"]


@pytest.mark.parametrize("damage", [flip, truncate])
def test_a_file_of_stage_1_may_have_been_changed_by_hand_and_is_not_replaced(written, damage):
    path = left(written, "prepare")[0]
    damage(path)
    before = written.files()
    stop = written.stops()
    assert stop.code == 2 and str(path) in str(stop) and written.files() == before
    assert "--stage 2 --overwrite true" in str(stop)
    path.unlink()  # which is one of the two things it says
    assert written.run() == ["prepare", "report"]
    damage(path)  # and this is the other
    assert written.run(stage=2, overwrite=True) == ALL[1:]
    assert written.run() == ["report"]


@pytest.mark.parametrize("stage", [5, 6])
def test_edited_data_that_a_later_stage_refuses_are_not_taken_over(written, stage):
    path = left(written, "prepare")[0]
    was, when = path.read_bytes(), path.stat().st_mtime_ns
    flip(path)
    for verb in ("score", "report"):
        written.codes = {verb: 2}
        assert written.stops(stage=stage).code == 2
    path.write_bytes(was)
    os.utime(path, ns=(when, when))
    written.codes = {}
    assert written.run() == ["decode", "score", "report"]  # of these data
    assert written.run() == ["report"]


@pytest.mark.parametrize(("stage", "verb", "code"), [(2, "decode", 2), (5, "score", 130)])
def test_edited_data_that_hold_a_training_or_an_interrupted_run_are_taken_over(
    written, stage, verb, code
):
    flip(left(written, "prepare")[0])
    written.codes = {verb: code}
    assert written.stops(stage=stage, overwrite=True).code == code
    written.codes = {}
    assert verb in written.run() and written.run() == ["report"]


def test_data_that_come_back_as_something_else_end_what_was_made_of_them(written):
    left(written, "features")[0].unlink()
    written.changes = " today"
    stop = written.stops()
    assert "is trained, and now" in str(stop) and stop.code == 2


@HOW
def test_what_a_training_has_left_is_put_back_or_the_command_is_said(written, damage):
    path = left(written, "train")[0]
    damage(path)
    assert written.run() == ["restore", "report"] and written.run() == ["report"]
    damage(path)
    written.codes["restore"] = 2
    before = written.markers()
    stop = written.stops()
    assert stop.code == 2 and "--stage 4 --overwrite true" in str(stop) and str(path) in str(stop)
    assert written.markers() == before


@HOW
@pytest.mark.parametrize(
    ("number", "verbs"), [(0, ["decode", "score", "report"]), (1, ["score", "report"])]
)
def test_results_that_are_damaged_are_made_again(written, damage, number, verbs):
    damage(left(written, "score")[number])
    assert written.run() == verbs and written.run() == ["report"]


def test_a_stage_says_that_the_one_before_it_is_damaged(written):
    empty(left(written, "decode")[0])
    stop = written.stops(stage=6)
    assert stop.code == 2 and str(stop).endswith("--stage 5")
    assert written.run(stage=5) == ["decode", "score", "report"]


@pytest.mark.parametrize("damage", [flip, truncate, empty])
@pytest.mark.parametrize("marker", ["data/.done.1", "data/.done.3", "exp/atat/.done.4"])
def test_a_marker_that_is_damaged_is_put_back(written, damage, marker):
    before = (written.root / marker).read_text()
    damage(written.root / marker)
    assert written.run() == ["report"] and (written.root / marker).read_text() == before


@pytest.mark.parametrize("damage", [flip, truncate, empty, Path.unlink])
def test_a_list_that_is_damaged_itself_accuses_nobody(written, damage):
    for path in written.root.glob("**/.files.*"):
        damage(path)
    assert written.run() == ["report"]


def test_a_file_that_was_only_touched_is_read_once(written, monkeypatch):
    for path in left(written, "features"):
        os.utime(path, (1, 1))
    assert written.run() == ["report"]
    monkeypatch.setattr(stage_files, "_crc32", lambda path: pytest.fail(f"read {path}"))
    assert written.run() == ["report"]


@pytest.fixture
def killed_at_its_end(recipe, monkeypatch):
    """A training has written its model, and nobody its marker."""

    def train(command):
        code = Recipe.attend(recipe, command)
        if command[0] == "train":
            model = recipe.root / "exp" / command[1] / "model.safetensors"
            later = model.stat().st_mtime_ns + 10**9
            os.utime(model, ns=(later, later))
            raise KeyboardInterrupt
        return code

    with monkeypatch.context() as patch:
        patch.setattr(recipe, "attend", train)
        with pytest.raises(KeyboardInterrupt):
            recipe.run()
    assert (recipe.root / "exp" / "atat" / ".begun.4").exists()
    return recipe


def test_a_training_that_had_ended_when_its_run_was_killed_is_done(killed_at_its_end, capsys):
    assert killed_at_its_end.run() == ["decode", "score", "report"]
    assert "it had ended when its run was killed" in capsys.readouterr().out
    assert killed_at_its_end.run() == ["report"]


def test_one_with_other_settings_or_an_older_model_is_not(killed_at_its_end):
    killed_at_its_end.change("4 atat seed=1", "4 atat seed=2")
    assert "--overwrite true" in str(killed_at_its_end.stops())
    killed_at_its_end.change("4 atat seed=2", "4 atat seed=1")
    os.utime(killed_at_its_end.root / "exp" / "atat" / "model.safetensors", (1, 1))
    assert "--overwrite true" in str(killed_at_its_end.stops())
    assert killed_at_its_end.run(stage=4)[0] == "train"  # an order is one

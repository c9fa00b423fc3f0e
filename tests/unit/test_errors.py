"""What a person sees of an error."""

from sidecar.errors import ConfigError, Problem


def test_a_problem_shows_the_place_the_line_what_was_expected_and_the_next_step() -> None:
    problem = Problem(
        place="services/orders.yaml:3:1",
        message="unknown field `timeot`",
        expected="`timeout`, `to`",
        hint="did you mean `timeout`?",
        snippet="3 | timeot: 5s\n  | ^^^^^^",
    )

    assert str(problem).splitlines() == [
        "services/orders.yaml:3:1: unknown field `timeot`",
        "  3 | timeot: 5s",
        "    | ^^^^^^",
        "  expected: `timeout`, `to`",
        "  did you mean `timeout`?",
    ]


def test_a_config_error_tells_all_its_problems() -> None:
    error = ConfigError([Problem("a.yaml:1:1", "first"), Problem("b.yaml", "second")])

    assert str(error) == "a.yaml:1:1: first\nb.yaml: second"

"""The variables that a server is started with: read, refused with a reason, and written again."""

from pathlib import Path

import pytest

from ssept.errors import ServerError
from ssept.serving.settings import VARIABLES, ServerSettings, from_environment, to_environment

OTHERS = {
    "SSEPT_CHECKPOINT": "/models/other.safetensors",
    "SSEPT_VARIANT": "fused_int8_topk, onnx",
    "SSEPT_PROVIDER": "openvino",
    "SSEPT_THREADS": "2",
    "SSEPT_SESSIONS": "3",
    "SSEPT_TUNED": "/tuned.json",
    "MOVIELENS_DATA_DIR": "/data",
    "SSEPT_MAX_BATCH": "16",
    "SSEPT_MAX_WAIT_MS": "12.5",
    "SSEPT_DEADLINE_MS": "250",
    "SSEPT_MAX_BODY_BYTES": "4096",
    "SSEPT_MAX_SEQUENCE": "60",
    "SSEPT_MAX_TOP_K": "20",
    "SSEPT_ALL_SCORES": "1",
    "SSEPT_ONNX_NAMES": "user=who,length=24",
    "SSEPT_CORS_ORIGINS": "https://shop.example,http://127.0.0.1:3000",
    "SSEPT_ALLOWED_HOSTS": "shop.example,[2001:db8::1]",
}
READ = ServerSettings(
    model=Path("/models/other.safetensors"),
    variants=("fused_int8_topk", "onnx"),
    onnx_names="user=who,length=24",
    provider="openvino",
    threads=2,
    sessions=3,
    tuned=Path("/tuned.json"),
    data=Path("/data"),
    max_batch=16,
    max_wait_ms=12.5,
    deadline_ms=250,
    max_body_bytes=4096,
    max_sequence=60,
    max_top_k=20,
    all_scores=True,
    cors_origins=("https://shop.example", "http://127.0.0.1:3000"),
    allowed_hosts=("shop.example", "[2001:db8::1]"),
)


def test_without_variables_the_defaults_hold() -> None:
    assert from_environment({}) == ServerSettings()
    assert from_environment(dict.fromkeys(VARIABLES.values(), " ")) == ServerSettings()


def test_every_setting_has_a_variable() -> None:
    assert set(OTHERS) == set(VARIABLES.values())
    assert from_environment(OTHERS) == READ
    for variable, text in OTHERS.items():
        if variable != "SSEPT_PROVIDER":  # of no effect alone: the default variant runs there too
            assert from_environment({variable: text}) != ServerSettings(), variable


@pytest.mark.parametrize("settings", [ServerSettings(), READ])
def test_settings_written_are_read_again(settings: ServerSettings) -> None:
    assert from_environment(to_environment(settings)) == settings


@pytest.mark.parametrize("text", ["0", "false", "FALSE"])
def test_a_flag_can_be_off(text: str) -> None:
    assert from_environment({"SSEPT_ALL_SCORES": text}).all_scores is False


NUMBERS = [
    "SSEPT_THREADS",
    "SSEPT_SESSIONS",
    "SSEPT_MAX_BATCH",
    "SSEPT_MAX_BODY_BYTES",
    "SSEPT_MAX_SEQUENCE",
    "SSEPT_MAX_TOP_K",
]
MILLISECONDS = ["SSEPT_MAX_WAIT_MS", "SSEPT_DEADLINE_MS"]


@pytest.mark.parametrize("variable", NUMBERS)
@pytest.mark.parametrize("text", ["0", "-1", "many", "1.5", "1e3", "99999999999"])
def test_a_number_that_is_none_is_refused(variable: str, text: str) -> None:
    with pytest.raises(ServerError, match=f"^{variable} is '{text}'; expected a whole number"):
        from_environment({variable: text})


@pytest.mark.parametrize("variable", MILLISECONDS)
@pytest.mark.parametrize("text", ["0", "-1", "soon", "nan", "inf", "1e300"])
def test_a_time_that_is_none_is_refused(variable: str, text: str) -> None:
    with pytest.raises(ServerError, match=f"^{variable} is '{text}'; expected a number above 0"):
        from_environment({variable: text})


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        (
            {"SSEPT_PROVIDER": "cpuu"},
            "^SSEPT_PROVIDER: unknown provider 'cpuu'; expected one of .*cpu",
        ),
        ({"SSEPT_THREADS": "1025"}, "^SSEPT_THREADS is '1025'; .*, at most 1,024$"),
        ({"SSEPT_SESSIONS": "1000000"}, "^SSEPT_SESSIONS is .*, at most 256$"),
        ({"SSEPT_MAX_BATCH": "1000000000"}, "^SSEPT_MAX_BATCH is .*, at most 4,096$"),
        (
            {"SSEPT_VARIANT": "fused,fuzed"},
            "^SSEPT_VARIANT: unknown variant 'fuzed'; expected one of .*fused",
        ),
        ({"SSEPT_VARIANT": "custom"}, "^SSEPT_VARIANT: unknown variant 'custom'"),
        ({"SSEPT_VARIANT": " , "}, "^SSEPT_VARIANT names no variant"),
        (
            {"SSEPT_VARIANT": "torch"},
            "^SSEPT_PROVIDER: cpu does not run torch; these do: torch",
        ),
        ({"SSEPT_ONNX_NAMES": "users=who"}, "^SSEPT_ONNX_NAMES: unknown role 'users'"),
        ({"SSEPT_ALL_SCORES": "maybe"}, "^SSEPT_ALL_SCORES is 'maybe'; expected 0 or 1"),
        (
            {"SSEPT_CORS_ORIGINS": "shop.example"},
            "^SSEPT_CORS_ORIGINS: 'shop.example' is not a web",
        ),
        ({"SSEPT_CORS_ORIGINS": "https://a.example/x"}, "SSEPT_CORS_ORIGINS: .* without a path"),
        ({"SSEPT_CORS_ORIGINS": "*,http://[1"}, "SSEPT_CORS_ORIGINS: 'http://.1' is not a web"),
        ({"SSEPT_ALLOWED_HOSTS": "shop.example:80"}, "^SSEPT_ALLOWED_HOSTS: 'shop.example:80' is"),
        ({"SSEPT_ALLOWED_HOSTS": "*,http://a.example"}, "^SSEPT_ALLOWED_HOSTS: 'http://a.exam"),
        ({"SSEPT_ALLOWED_HOSTS": "2001:db8::1"}, "SSEPT_ALLOWED_HOSTS: .* or .2001:db8::1., with"),
    ],
)
def test_what_cannot_be_served_is_refused_with_the_variable(
    variables: dict[str, str], message: str
) -> None:
    with pytest.raises(ServerError, match=message):
        from_environment(variables)


def test_all_origins_may_be_let_in() -> None:
    assert from_environment({"SSEPT_CORS_ORIGINS": "*"}).cors_origins == ("*",)


def test_a_tuned_file_without_the_cell_is_refused(tmp_path: Path) -> None:
    from ssept.measure.settings import Settings as SessionSettings
    from ssept.measure.settings import write_settings

    tuned = tmp_path / "tuned.json"
    write_settings(tuned, "onnx-cpu", SessionSettings(2, {}, 8), {})
    settings = from_environment({"SSEPT_TUNED": str(tuned), "SSEPT_VARIANT": "onnx"})
    assert settings.session("onnx") == SessionSettings(2, {}, 8)
    with pytest.raises(
        ServerError, match=r"tuned.json: has no settings for fused-cpu; run `ssept tune"
    ):
        settings.session("fused")


def test_an_onnx_file_has_the_settings_it_was_tuned_with(tmp_path: Path) -> None:
    from ssept.measure.settings import Settings as SessionSettings
    from ssept.measure.settings import write_settings

    tuned, model = tmp_path / "tuned.json", tmp_path / "own.onnx"
    write_settings(tuned, "custom-cpu", SessionSettings(2, {}, 8), {})
    variables = {"SSEPT_TUNED": str(tuned), "SSEPT_CHECKPOINT": str(model)}
    settings = from_environment(variables)
    assert settings.session(settings.variants[0]) == SessionSettings(2, {}, 8)
    settings = from_environment(variables | {"SSEPT_PROVIDER": "openvino"})
    with pytest.raises(
        ServerError, match=r"no settings for custom-openvino; .* --model .*own.onnx"
    ):
        settings.session(settings.variants[0])

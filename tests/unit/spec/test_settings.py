"""What the environment says of store, catalog and sources."""

from __future__ import annotations

from strandline.spec.namespaces import catalog_schema, namespace_of
from strandline.spec.settings import S3Settings, load_settings

KEYS = {
    "STRANDLINE_S3_ENDPOINT": "https://store.example",
    "STRANDLINE_S3_ACCESS_KEY": "store",
    "STRANDLINE_S3_SECRET_KEY": "hush",
}


def test_a_prefix_goes_below_the_store() -> None:
    env = {"STRANDLINE_STORE": "s3://bucket/all/", "STRANDLINE_STORE_PREFIX": "team-a"}
    assert load_settings(env).store_url == "s3://bucket/all/team-a"
    assert load_settings({"STRANDLINE_STORE": "s3://bucket/"}).store_url == "s3://bucket/"


def test_sources_are_reached_as_the_store_unless_told_otherwise() -> None:
    settings = load_settings(KEYS)
    assert settings.source_s3 == settings.s3
    own = {"STRANDLINE_SOURCE_S3_ACCESS_KEY": "mine", "STRANDLINE_SOURCE_S3_SECRET_KEY": "shh"}
    source = load_settings({**KEYS, **own, "AWS_SESSION_TOKEN": "of the store"}).source_s3
    assert source == S3Settings("store.example", None, "mine", "shh")
    elsewhere = {**own, "STRANDLINE_SOURCE_S3_ENDPOINT": "http://pictures.example:9000"}
    source = load_settings({**KEYS, **elsewhere}).source_s3
    assert source is not None
    assert (source.endpoint, source.secure) == ("pictures.example:9000", False)
    assert load_settings({**KEYS, **elsewhere}).s3.endpoint == "store.example"


def test_no_two_namespaces_share_a_schema() -> None:
    assert catalog_schema("team-a") == "strandline_team_a"
    long = ["n" * 62 + last for last in "ab"]
    schemas = {catalog_schema(each) for each in (*long, "n" * 50, "team-a", "team-b")}
    assert len(schemas) == 5
    assert all(len(each) <= 63 for each in schemas)


def test_a_schema_tells_its_namespace_unless_that_was_cut() -> None:
    assert namespace_of(catalog_schema("team-a")) == "team-a"
    assert namespace_of(catalog_schema("n" * 63)) is None
    assert namespace_of("public") is None

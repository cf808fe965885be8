"""Identifiers: one thing has one canonical form, and no spelling reaches into another's namespace.

epcpy (EPC URNs) and biip (Digital Link, check digits) are independent oracles for the canonical form.
"""

import re
import string
from urllib.parse import unquote

import biip.checksums
import biip.gs1_digital_link_uris
import epcpy
import pytest
from hypothesis import example, given, reject
from hypothesis import strategies as st

from ledger import gs1_keys, identifiers
from ledger.errors import Refused
from ledger.identifiers import canonical, canonical_grant, grant_prefixes, grants_overlap, matches_grant
from ledger.limits import IDENTIFIER_BYTES_MAX
from proto.chiptrace.v1.ledger_pb2 import Reason

SET_82 = "!\"%&'()*+,-./0123456789:;<=>?ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz"
SET_39 = "#-/0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
GTIN = "04012345999990"
SGTIN = f"https://id.gs1.org/01/{GTIN}/21/XYZ-1234"

digits = st.text("0123456789", min_size=1, max_size=20)
prefixes = st.text("0123456789", min_size=6, max_size=12)
serials = st.text(SET_82, min_size=1, max_size=20)


def urn_text(value: str) -> str:
    """The escaping that EPC URNs demand."""
    return "".join(f"%{ord(c):02X}" if c in '"%&/<>?#' else c for c in value)


def refused(text: str) -> bool:
    try:
        canonical(text)
    except Refused as error:
        if error.reason == Reason.IDENTIFIER_INVALID:
            return True
        raise
    return False


@st.composite
def keyed_urns(draw):
    """An EPC URN of a scheme with a numeric reference, as (urn, scheme)."""
    scheme, total, tail = draw(
        st.sampled_from(
            [
                ("sgtin", 13, True),
                ("sscc", 17, False),
                ("sgln", 12, True),
                ("pgln", 12, False),
                ("grai", 12, True),
                ("gsrn", 17, False),
                ("gsrnp", 17, False),
                ("gdti", 12, True),
                ("gsin", 16, False),
            ]
        )
    )
    prefix = draw(prefixes)
    reference = draw(st.text("0123456789", min_size=total - len(prefix), max_size=total - len(prefix)))
    urn = f"urn:epc:id:{scheme}:{prefix}.{reference}"
    if tail:
        length = {"grai": 16, "gdti": 17}.get(scheme, 20)
        urn += "." + urn_text(draw(st.text(SET_82, min_size=1, max_size=length)))
    return urn, scheme


# ---- against the oracles ------------------------------------------------------------------------------------


@given(keyed_urns())
@example(("urn:epc:id:sgln:000000000000...0", "sgln"))  # its extension is ".0", which is not none
def test_gs1_urns_agree_with_epcpy(pair):
    urn, scheme = pair
    segments = canonical(urn).text.removeprefix("https://id.gs1.org/").split("/")
    ours = "".join(f"({ai}){unquote(value)}" for ai, value in zip(segments[::2], segments[1::2], strict=True))
    if scheme == "sgln" and urn.split(".", 2)[2] == "0":
        ours += "(254)0"  # epcpy keeps the extension that means none
    try:
        theirs = epcpy.epc_pure_identity_to_gs1_element_string(urn)
    except (epcpy.ConvertException, ValueError):
        reject()  # epcpy 0.1.8 knows fewer serials, and stumbles over escapes such as %3C
    assert ours == theirs


@given(prefixes, digits, serials)
def test_a_digital_link_parses_in_biip_to_the_same_elements(prefix, reference, serial):
    urn = f"urn:epc:id:sgtin:{prefix}.{reference[: 13 - len(prefix)].ljust(13 - len(prefix), '7')}.{urn_text(serial)}"
    ours = canonical(urn)
    link = biip.gs1_digital_link_uris.GS1DigitalLinkURI.parse(ours.text)
    found = {element.ai.ai: element.value for element in link.element_strings}
    assert found == {"01": ours.text.split("/")[4], "21": serial}


@given(st.text("0123456789", min_size=3, max_size=17))
def test_check_digits_agree_with_biip(number):
    assert int(gs1_keys.check_digit(number)) == biip.checksums.gs1_standard_check_digit(number)


# ---- one thing, one form ------------------------------------------------------------------------------------


@given(keyed_urns())
def test_the_canonical_form_is_its_own_canonical_form(pair):
    first = canonical(pair[0])
    again = canonical(first.text)
    assert again == first
    assert again.company_prefix == ""
    assert first.gs1_key_digits.startswith(first.company_prefix)


@given(
    serials,
    st.sampled_from(["https://id.gs1.org", "http://example.com", "HTTPS://Shop.Example.COM:8443/a/b"]),
)
def test_any_domain_case_and_escaping_means_the_same(serial, root):
    everything = "".join(f"%{ord(character):02x}" for character in serial)
    expected = canonical(f"urn:epc:id:sgtin:4012345.099999.{urn_text(serial)}")
    assert canonical(f"{root}/01/{GTIN}/21/{everything}") == expected
    assert canonical(f"{root}/gtin/{GTIN}/ser/{everything}?linkType=gs1:pip") == expected


@pytest.mark.parametrize(
    ("spelling", "text"),
    [
        ("https://id.gs1.org/01/4012345999990", f"https://id.gs1.org/01/{GTIN}"),
        (f"https://id.gs1.org/01/{GTIN}/22/2A/10/LOT/21/XYZ-1234", SGTIN),
        (f"https://id.gs1.org/01/{GTIN}/22/2A", f"https://id.gs1.org/01/{GTIN}"),
        ("https://id.gs1.org/01/12345670", "https://id.gs1.org/01/00000012345670"),
        ("urn:epc:class:lgtin:4012345.012345.Lot987", "https://id.gs1.org/01/04012345123456/10/Lot987"),
        ("urn:epc:idpat:sgtin:4012345.066666.*", "https://id.gs1.org/01/04012345666663"),
        ("urn:epc:id:sgln:4012345.00005.0", "https://id.gs1.org/414/4012345000054"),
        ("https://example.org/414/4012345000054/254/0", "https://id.gs1.org/414/4012345000054"),
        ("urn:epc:id:upui:1234567.098765.51qIgY)%3C%26Jp3*j7'SDB",
         "https://id.gs1.org/01/01234567987651/235/51qIgY%29%3C%26Jp3%2Aj7'SDB"),
        ("urn:epc:id:cpi:0614141.11111111111111-A%23%2F.1234",
         "https://id.gs1.org/8010/061414111111111111111-A%23%2F/8011/1234"),
        ("urn:epc:id:gdti:987659999999..9", "https://id.gs1.org/253/98765999999929"),
        ("urn:epc:id:itip:4012345.011111.01.02.987", "https://id.gs1.org/8006/040123451111180102/21/987"),
        ("urn:epc:id:grai:4012345.66666.87", "https://id.gs1.org/8003/0401234566666387"),
        ("URN:EPC:id:pgln:4000001.00000", "https://id.gs1.org/417/4000001000005"),
        ("urn:epc:idpat:upui:4012345.012345.*", "https://id.gs1.org/01/04012345123456"),
        ("https://example.com/itip/040123451234560102/cpv/AB/lot/XYZ", "https://id.gs1.org/8006/040123451234560102/10/XYZ"),
        ("https://example.com/8006/040123451234560102/10/XYZ/21/7", "https://id.gs1.org/8006/040123451234560102/21/7"),
        ("https://example.com/gmn/1987654Ad4X4bL5ttr2310c2K?x=1", "https://id.gs1.org/8013/1987654Ad4X4bL5ttr2310c2K"),
    ],
)  # fmt: skip
def test_known_spellings(spelling, text):
    assert canonical(spelling).text == text


def test_what_is_a_class_and_of_what_class_a_thing_is():
    lot = canonical("urn:epc:class:lgtin:4012345.012345.Lot987")
    assert (lot.is_class, lot.class_text, lot.lot) == (True, "https://id.gs1.org/01/04012345123456", "Lot987")
    thing = canonical(SGTIN)
    assert (thing.is_class, thing.class_text) == (False, f"https://id.gs1.org/01/{GTIN}")
    for urn in ("urn:epc:idpat:grai:4012345.66666.*", "urn:epc:idpat:cpi:4012345.ABC.*"):
        assert canonical(urn).is_class
    assert not canonical("urn:epc:id:sscc:4012345.0000000333").class_text


def test_a_model_is_a_class_whose_check_characters_are_verified():
    model = canonical("https://id.gs1.org/8013/1987654Ad4X4bL5ttr2310c2K")
    assert (model.scheme, model.is_class, model.gs1_key_digits) == ("gmn", True, "1987654")
    for text in (
        "1987654Ad4X4bL5ttr2310c2L",
        "1987654Ad4X4bL5ttr2310d2K",
        "AB2K",
        "1987654Ad4X4bL5ttr2310c2KK",
    ):
        assert refused(f"https://id.gs1.org/8013/{text}")


def test_two_lots_of_a_piece_are_two_classes():
    lots = {canonical(f"https://id.gs1.org/8006/040123451234560102/10/{lot}").text for lot in "AB"}
    assert len(lots) == 2
    assert all(canonical(lot).class_text == "https://id.gs1.org/8006/040123451234560102" for lot in lots)


# ---- attacks on the form ------------------------------------------------------------------------------------


@given(keyed_urns(), st.integers(1, 9))
@example(("urn:epc:id:sgtin:000000.0000000..", "sgtin"), 1)
@example(("urn:epc:id:sgtin:000000.0000000...", "sgtin"), 1)
def test_a_wrong_check_digit_names_nothing_under_id_gs1_org(pair, shift):
    text = canonical(pair[0]).text
    primary, value = text.removeprefix("https://id.gs1.org/").split("/")[:2]
    at = {"8003": 13, "253": 12}.get(primary, len(value) - 1)
    wrong = value[:at] + str((int(value[at]) + shift) % 10) + value[at + 1 :]
    changed = text.replace(f"/{value}", f"/{wrong}", 1)
    assert refused(changed)
    # Elsewhere it is a URI of that domain, out of every company prefix's reach.
    other = changed.replace("id.gs1.org", "example.com")
    if {".", ".."} & set(other.split("/")):
        assert refused(other)  # a serial may be such a thing, a segment of another URI may not
        return
    found = canonical(other)
    assert (found.text, found.gs1_key_digits) == (other, "")


@pytest.mark.parametrize(
    "text",
    [
        "",
        " " + SGTIN,
        SGTIN + "\n",
        SGTIN + "\u00e9",
        SGTIN.replace("XYZ", "ＸＹＺ"),
        SGTIN + "#fragment",
        SGTIN + "?21=other",
        SGTIN + "?%32%31=other",
        SGTIN.replace("https://", "https://id.gs1.org@"),
        SGTIN.replace("/21/", "/21//"),
        SGTIN + "/",
        SGTIN + "%",
        SGTIN + "%2",
        SGTIN + "%C3%A9",
        SGTIN + "%00",
        f"https://id.gs1.org/21/XYZ-1234/01/{GTIN}",
        f"https://example.com/21/XYZ-1234/01/{GTIN}",
        f"https://id.gs1.org/01/{GTIN}/21/A/10/B",
        f"https://example.com/01/{GTIN}/21/A/10/B",
        f"https://id.gs1.org/01/{GTIN}/21/A/21/B",
        f"https://example.com/01/{GTIN}/01/04012345111118",
        f"https://example.com/00/340123451111111111/01/{GTIN}",
        f"https://example.com/01/{GTIN}/99/x",
        f"https://id.gs1.org/x/01/{GTIN}",
        f"https://id.gs1.org/01/{GTIN}/235/A/21/B",
        f"https://id.gs1.org/01/{GTIN}/21/B/235/A",
        f"https://id.gs1.org/01/0{GTIN}",
        "https://id.gs1.org/01/401234599999",
        "https://id.gs1.org/99/1",
        "https://id.gs1.org/",
        "https://id.gs1.org/8010/4012345ABC/8011/007",
        "https://id.gs1.org/8010/4012345abc/8011/7",
        "https://id.gs1.org/8003/14012345666663",
        "urn:epc:id:sgtin:4012345.12345.1",
        "urn:epc:id:sgtin:4012345.0123456.1",
        "urn:epc:id:sgtin:4012345.012345",
        "urn:epc:id:sgtin:4012345.012345.",
        "urn:epc:id:sgtin:4O12345.012345.1",
        "urn:epc:id:sgtin:4012345.012345.a%2",
        "urn:epc:id:sgtin:4012345.012345.a b",
        "urn:epc:id:sgtin:4012345.012345.{}",
        "urn:epc:id:sgtin:4012345.012345." + "1" * 21,
        "urn:epc:id:lgtin:4012345.012345.1",
        "urn:epc:class:sgtin:4012345.012345.1",
        "urn:epc:idpat:sgtin:4012345.*.*",
        "urn:epc:idpat:sgtin:4012345.012345.[1-5]",
        "urn:epc:idpat:sscc:4012345.*",
        "urn:epc:tag:sgtin-96:3.4012345.012345.1",
        "urn:epc:raw:96.x0123456789ABCDEF01234567",
        "https://example.com/id/" + "a" * IDENTIFIER_BYTES_MAX,
    ],
)
def test_what_names_nothing_is_refused(text):
    assert refused(text)


def test_refusals_say_what_is_wrong():
    for text, what in (
        ("https://id.gs1.org/01/04012345999991", "check digit of 04012345999991 is wrong, 0 is right"),
        ("https://id.gs1.org/01/123", "no GS1 key"),
        ("urn:epc:id:sgtin:4012345.12345.1", "6 digits are needed"),
    ):
        with pytest.raises(Refused, match=what):
            canonical(text)


def test_an_escape_is_decoded_once():
    once = canonical(SGTIN + "%25")
    twice = canonical(SGTIN + "%2525")
    assert once.text == SGTIN + "%25"
    assert twice.text == SGTIN + "%2525"
    assert once != twice
    assert canonical("urn:epc:id:sgtin:4012345.099999.XYZ-1234%2525") == twice


@pytest.mark.parametrize(
    "text",
    [
        "HTTPS://example.com/a",
        "https://Example.com/a",
        "https://example.com:443/a",
        "http://example.com:80/a",
        "https://example.com:099/a",
        "https://example.com:/a",
        "https://example.com./a",
        "https://exa_mple.com/a",
        "https://user@example.com/a",
        "https://[::1]/a",
        "https://example.com",
        "https://example.com/",
        "https://example.com/a/",
        "https://example.com/a//b",
        "https://example.com/a/../b",
        "https://example.com/./b",
        "https://example.com/%2e%2e/b",
        "https://example.com/%41",
        "https://example.com/%c3%a9",
        "https://example.com/a#b",
        "https://example.com/a#",
        "https:/example.com/a",
        "https:example.com",
        "URN:example:a",
        "urn:Example:a",
        "urn:example:",
        "urn:example:a:",
        "urn:example:a#b",
        "urn:example:a?+x",
        "urn:x:a",
        "Mailto:a",
        "noscheme",
        "//example.com/a",
        "urn:epc:id",
        "urn:epc:pat:gid:1.2",
        "urn:epc:idpat:gid:1.2.3",
        "urn:epc:idpat:gid:1.*.*",
    ],
)
def test_plain_uris_have_one_spelling(text):
    assert refused(text)


@pytest.mark.parametrize(
    ("text", "scheme"),
    [
        ("https://example.com/id/a%20b?v=1", "web"),
        ("http://example.com:8080/id", "web"),
        ("urn:epc:id:adi:2S194.12345678828.3S", "urn"),
        ("urn:epc:id:usdod:2S194.12345", "urn"),
        ("urn:epc:id:gid:95100000.12345.400", "urn"),
        ("urn:uuid:374d95fc-9457-4a51-bd6a-0bba133845a8", "urn"),
        ("did:web:example.com:parts:7", "uri"),
        ("https://example.com/01/12", "web"),
        ("https://example.com/party/acme", "web"),
    ],
)
def test_other_uris_are_kept_verbatim(text, scheme):
    found = canonical(text)
    assert (found.text, found.scheme, found.gs1_key_digits) == (text, scheme, "")


@given(st.text(string.printable, max_size=80))
def test_no_text_brings_anything_but_an_identifier_or_a_refusal(text):
    for attempt in (
        text,
        "https://" + text,
        "urn:epc:id:sgtin:" + text,
        f"https://id.gs1.org/01/{GTIN}/21/" + text,
    ):
        if not refused(attempt):
            found = canonical(attempt)
            assert canonical(found.text) == found


# ---- grants -------------------------------------------------------------------------------------------------


@given(keyed_urns())
def test_a_company_prefix_covers_its_keys_and_no_other_prefix_of_its_length_does(pair):
    urn, _ = pair
    thing = canonical(urn)
    prefix = thing.company_prefix
    assert matches_grant(thing, f"gs1:{prefix}")
    assert matches_grant(canonical(thing.text), f"gs1:{prefix}")
    other = prefix[:-1] + str((int(prefix[-1]) + 1) % 10)
    assert not matches_grant(thing, f"gs1:{other}")
    assert list(grant_prefixes(thing)) == sorted(grant_prefixes(thing), key=len, reverse=True)


def test_a_prefix_inside_the_number_owns_nothing():
    # Hyperledger Grid asked `product_id.contains(prefix)`: 614141 "owned" GTIN 00099614141xx.
    thing = canonical("urn:epc:id:sgtin:0099614.014105.1")
    assert "9961414105" in thing.text
    for inside in ("gs1:614141", "gs1:6141", "gs1:996141", "gs1:000996", "gs1:1410"):
        assert not matches_grant(thing, inside)
    assert matches_grant(thing, "gs1:0099614")


def test_the_indicator_and_the_extension_digit_stand_before_the_prefix():
    case = canonical("urn:epc:id:sgtin:4012345.799999.1")
    assert case.text.startswith("https://id.gs1.org/01/7401234599999")
    assert matches_grant(case, "gs1:4012345")
    assert not matches_grant(case, "gs1:7401234")
    unit = canonical("urn:epc:id:sscc:4012345.3111111111")
    assert matches_grant(unit, "gs1:4012345")
    assert not matches_grant(unit, "gs1:3401234")
    asset = canonical("urn:epc:id:grai:4012345.66666.87")
    assert not matches_grant(asset, "gs1:0401234")


@pytest.mark.parametrize(
    ("text", "grant", "covered"),
    [
        ("https://example.com/parts/1", "https://example.com", True),
        ("https://example.com/parts/1", "https://example.com/parts", True),
        ("https://example.com/parts/1?x=https://example.com/other", "https://example.com/parts/1", True),
        ("https://example.com/parts/1", "https://example.com/part", False),
        ("https://example.com/parts/1", "http://example.com", False),
        ("https://example.com.evil.test/parts/1", "https://example.com", False),
        ("https://evil.test/https:%2F%2Fexample.com", "https://example.com", False),
        ("https://example.com:8443/parts/1", "https://example.com", False),
        ("urn:epc:id:adi:2S194.12345678828.3S", "urn:epc:id:adi:2S194", True),
        ("urn:epc:id:adi:2S194.12345678828.3S", "urn:epc:id:adi:2S19", False),
        ("urn:epc:idpat:adi:2S194.12345678828.*", "urn:epc:id:adi:2S194", True),
        ("urn:example:acme:1", "urn:example:acme", True),
        ("urn:example:acme2:1", "urn:example:acme", False),
        ("https://example.com/01/12", "gs1:0000", False),
    ],
)
def test_uri_grants_cover_whole_segments(text, grant, covered):
    assert matches_grant(canonical(text), canonical_grant(grant)) is covered


@pytest.mark.parametrize(
    "text",
    [
        "", "gs1:", "gs1:401", "gs1:4012345678901", "gs1:40123a5", "gs1:4012345 ", "gs1:٤٠١٢٣٤٥", "GS1:4012345", "gs1:4012345\n",
        "https://example.com/", "https://Example.com", "https://example.com/a/", "https://example.com/a?x=1",
        "https://id.gs1.org", "https://id.gs1.org/01", f"https://example.com/01/{GTIN}", f"https://id.gs1.org/01/{GTIN}", "https://example.com?x",
        "urn:epc:id", "urn:epc:id:sgtin", "urn:epc:id:sgtin:4012345", "urn:epc:idpat:gid:1", "urn:example:", "https://",
    ],
)  # fmt: skip
def test_what_is_no_namespace_cannot_be_granted(text):
    with pytest.raises(Refused) as caught:
        canonical_grant(text)
    assert caught.value.reason == Reason.IDENTIFIER_INVALID


web_grants = st.lists(st.sampled_from(["a", "b", "ab", "a.b"]), max_size=3).map(
    lambda parts: "/".join(["https://example.com", *parts])
)
urn_grants = st.lists(st.sampled_from(["a", "b", "ab", "a.b"]), min_size=1, max_size=3).map(
    lambda parts: ":".join(["urn:example", *parts])
)
gs1_grants = st.text("01", min_size=4, max_size=7).map(lambda found: f"gs1:{found}")
grants = st.one_of(web_grants, urn_grants, gs1_grants)


def things_under(grant: str) -> list[identifiers.Identifier]:
    if grant.startswith("gs1:"):
        return [canonical(f"https://id.gs1.org/8004/{grant[4:]}{rest}") for rest in ("X", "0", "01", "1111")]
    ends = "/" if grant.startswith("https:") else ":."
    texts = [f"{grant}{end}{rest}" for end in ends for rest in ("a", "b", "ab", "a.b")]
    return [canonical(text) for text in texts]


@given(grants, grants)
def test_grants_overlap_exactly_where_something_lies_under_both(first, second):
    assert canonical_grant(first) == first
    shared = any(
        matches_grant(thing, first) and matches_grant(thing, second)
        for thing in (*things_under(first), *things_under(second))
    )
    assert grants_overlap(first, second) is shared
    assert grants_overlap(second, first) is shared


def test_a_uuid_is_one_thing_in_either_case():
    low = "urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6"
    assert canonical(low.replace("f81d4fae", "F81D4FAE")).text == low
    assert canonical(low).text == low


@pytest.mark.parametrize(
    "text",
    [
        "urn:epc:class:lgtin:6000001.recycled-copper.2032-03",
        "urn:epc:id:sgtin:4012345.word.1",
        "urn:epc:id:sscc:4012345.word",
    ],
)
def test_a_word_where_gs1_has_a_number_makes_a_name_of_its_own(text):
    name = canonical(text)
    assert (name.text, name.scheme, name.gs1_key_digits, name.company_prefix) == (text, "urn", "", "")
    # Nobody's company prefix covers it, and no text that begins alike.
    assert not any(prefix.startswith("gs1:") for prefix in grant_prefixes(name))
    with pytest.raises(Refused):
        canonical_grant("urn:epc:id:sgtin:4012345")


@pytest.mark.parametrize(
    "text",
    [
        "urn:epc:id:sgtin:4012345.O12345.1",  # one letter is a slip, or a trap
        "urn:epc:id:sgtin:4O12345.word.1",
        "urn:epc:id:sgtin:4012345.01234%61%62.1",
        "urn:epc:id:sgtin:4012345.w%6Frd.1",
        "urn:epc:idpat:sgtin:4012345.word.*",
        "urn:epc:id:SGTIN:4012345.word.1",
        "URN:epc:id:sgtin:4012345.word.1",
        "urn:epc:id:sgtin:4012345.wo rd.1",
    ],
)
def test_what_could_be_taken_for_a_number_is_no_name(text):
    with pytest.raises(Refused):
        canonical(text)


@given(
    st.sampled_from(
        (
            *("https://id.gs1.org/01/09521001100175/21/", "https://id.gs1.org/01/04012345123456/21/"),
            *("https://id.gs1.org/01/04012345123457/21/", "https://id.gs1.org/01/00000000000000/21/"),
            *(
                "https://id.gs1.org/00/",
                "urn:epc:id:sgtin:4012345.012345.",
                "urn:epc:id:sgtin:4012345.01234.",
            ),
            *(
                "urn:epc:id:sgtin:401.0123456789.",
                "urn:epc:id:sgtin:401234512345.0.",
                "urn:EPC:id:sgtin:4012345.012345.",
            ),
            *(
                "urn:epc:id:sgtin:4012345123456..",
                "urn:epc:id:sscc:4012345.",
                "urn:epc:idpat:sgtin:4012345.012345.",
            ),
            *("urn:epc:id:sscc:401234512345.", "urn:epc:id:sscc:401."),
        )
    ),
    st.text(string.ascii_letters + string.digits + "-._~'*%", max_size=24)
    | st.integers(0, 10**10 - 1).map(lambda number: f"{number:010}")
    | st.integers(0, 10**17 - 1).map(lambda number: f"{number:017}{gs1_keys.check_digit(f'{number:017}')}")
    | st.integers(0, 99_999).map(lambda number: f"{number:05}"),
)
def test_what_is_common_is_read_as_by_the_long_way(start, rest):
    def read(text):
        try:
            found = identifiers.canonical.__wrapped__(text)
        except Refused as error:
            return str(error), error.reason
        return [getattr(found, name) for name in found.__slots__]

    at_once = read(start + rest)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("_SERIAL_LINK", "_SERIAL_URN", "_UNIT_LINK", "_UNIT_URN"):
            patch.setattr(identifiers, name, re.compile(r"\b\B"))
        assert at_once == read(start + rest)

"""The catalogue's page and the search in a real browser: by keyboard, checked first, and with what is wrong said."""

from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Page, expect
from tests.browser import browsers
from tests.browser.test_look import find_violations

HEADER = "filename;dc.title;identifier;do_not_colorize\n"


def test_a_catalogue_is_checked_corrected_and_imported_and_its_words_are_found(
    open_page: Callable[..., Page], make_print: Callable[..., Path], deposit: Callable[..., str], tmp_path: Path
) -> None:
    first, second = make_print(), make_print()
    batch = deposit("Catalogued", [first, second])
    page = open_page(batch, **browsers.PHONE)
    page.get_by_role("link", name="Catalogue", exact=True).click()

    sheet = tmp_path / "metadata.csv"
    sheet.write_text(HEADER + f"{first.name};Straße;NM 1;maybe\n{first.name};Hafen;NM 2;\n")
    page.get_by_label("The catalogue").set_input_files(sheet)
    page.get_by_role("button", name="Check").press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("Row 2: do_not_colorize is “maybe”; it must be yes or no.")
    expect(page.get_by_role("button", name="Import", exact=True)).to_have_count(0)
    assert find_violations(page) == []

    sheet.write_text(HEADER + f"{first.name};Straße nach Köln;NM 1;yes\ngone.jpg;Hafen;NM 2;\n")
    page.get_by_label("The catalogue").set_input_files(sheet)
    page.get_by_role("button", name="Check").press("Enter")
    expect(page.locator("#checked")).to_contain_text("2 records, 1 photo matched.")
    expect(page.locator("#checked")).to_contain_text("gone.jpg · NM 2 (row 3)")
    expect(page.locator("#checked")).to_contain_text(second.name)
    assert find_violations(page) == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    with page.expect_download() as unmatched:
        page.get_by_role("button", name="What does not match").click()
    assert "gone.jpg" in unmatched.value.path().read_text()
    page.get_by_role("button", name="Import", exact=True).press("Enter")
    expect(page.get_by_text("Imported 2 records.")).to_be_visible()

    page.goto("/")
    page.get_by_label("Search all batches").fill("koln strasse")
    page.get_by_label("Search all batches").press("Enter")
    card = page.locator(".card")
    expect(card).to_contain_text("Straße nach Köln")
    expect(card).to_contain_text("Catalogued")
    card.get_by_role("link").click()
    expect(page.get_by_role("heading", name="From the catalogue")).to_be_visible()
    expect(page.get_by_text("not to be colorized").first).to_be_visible()
    page.goto(batch)
    page.get_by_label("Search this batch").fill("nothing like it")
    page.get_by_label("Search this batch").press("Enter")
    expect(page.get_by_role("heading", name="No photo found")).to_be_visible()


def test_without_scripts_the_check_is_a_page_of_its_own(
    open_page: Callable[..., Page], make_print: Callable[..., Path], deposit: Callable[..., str], tmp_path: Path
) -> None:
    print_ = make_print()
    page = open_page(f"{deposit('Plain', [print_])}/catalogue", java_script_enabled=False)
    sheet = tmp_path / "metadata.csv"
    sheet.write_text(HEADER + f"{print_.name};Straße;NM 1;\n")
    page.get_by_label("The catalogue").set_input_files(sheet)
    page.get_by_role("button", name="Check").click()
    expect(page.get_by_text("1 record, 1 photo matched.")).to_be_visible()
    page.get_by_label("The catalogue").set_input_files(sheet)
    page.get_by_role("button", name="Import", exact=True).click()
    expect(page.get_by_text("Imported 1 record.")).to_be_visible()

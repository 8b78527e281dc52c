"""Profiles and pictures: whatever is uploaded, what is served is a small WebP without metadata."""

import struct
import threading
import zlib
from io import BytesIO

import pytest
from django.core.files.storage import default_storage
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection, transaction
from django.test import Client
from PIL import Image

from accounts import avatars, services
from accounts.models import User
from accounts.names import clean_name, initials
from accounts.profiles import get_profile
from accounts.signals import profile_changed

pytestmark = [pytest.mark.django_db, pytest.mark.database]

FORM = {"display_name": "Alice", "bio": "", "time_zone": "UTC"}


def picture(kind="PNG", size=(600, 300), colour=(200, 30, 30), **options):
    out = BytesIO()
    Image.new("RGBA" if len(colour) == 4 else "RGB", size, colour).save(out, kind, **options)
    return out.getvalue()


def upload(data, name="me.png"):
    return SimpleUploadedFile(name, data)


@pytest.fixture
def media(settings, tmp_path):
    settings.MEDIA_ROOT = tmp_path
    return tmp_path / "avatars"


@pytest.fixture
def page(client, alice, media):
    client.force_login(alice)
    return client


def send(client, data, **changes):
    return client.post("/profile/", {**FORM, "picture": upload(data), **changes})


def avatar_of(user):
    profile = get_profile(user.pk)
    assert profile is not None
    return profile.avatar


def pixel(image, place):
    """Its colour as (red, green, blue, opacity)."""
    return tuple(image.convert("RGBA").getpixel(place))


def files(media):
    return sorted(path.name for path in media.glob("*")) if media.exists() else []


# --- The pages -------------------------------------------------------------------------------------------------------


def test_a_person_edits_their_own_profile(page, alice):
    response = page.post(
        "/profile/", {"display_name": " Alice  L. ", "bio": "I <3 chess", "time_zone": "Asia/Tokyo"}, follow=True
    )
    assert "Your profile is saved" in response.content.decode()
    alice.refresh_from_db()
    assert (alice.display_name, alice.bio, alice.time_zone) == ("Alice L.", "I <3 chess", "Asia/Tokyo")


def test_others_see_it(page, alice, bob):
    page.post("/profile/", {"display_name": "Alice L.", "bio": "I <3 chess", "time_zone": "Asia/Tokyo"})
    reader = Client()
    assert reader.get(f"/people/{alice.pk}/")["Location"].startswith("/accounts/login/")
    reader.force_login(bob)
    shown = reader.get(f"/people/{alice.pk}/").content.decode()
    assert "Alice L." in shown
    assert "I &lt;3 chess" in shown
    assert "Asia/Tokyo" in shown
    assert "Write to Alice L." in shown
    assert reader.get("/people/987654/").status_code == 404


def test_a_deactivated_person_is_shown_as_such(page, bob):
    services.set_active([bob], False)
    shown = page.get(f"/people/{bob.pk}/").content.decode()
    assert "cannot sign in" in shown
    assert "Write to Bob" not in shown


@pytest.mark.parametrize(
    ("field", "value"),
    [("display_name", "  "), ("display_name", "x" * 81), ("bio", "x" * 501), ("time_zone", "Nowhere/Else")],
)
def test_what_does_not_fit_is_refused_beside_its_field(page, alice, field, value):
    response = page.post("/profile/", {**FORM, field: value})
    assert response.status_code == 422
    assert 'role="alert"' in response.content.decode()
    alice.refresh_from_db()
    assert getattr(alice, field) in ("Alice", "", "UTC")


def test_a_zone_under_an_older_name_is_kept_until_another_is_chosen(page, alice):
    User.objects.filter(pk=alice.pk).update(time_zone="Asia/Calcutta")
    assert '<option value="Asia/Calcutta" selected>' in page.get("/profile/").content.decode()


def test_the_other_apps_are_told_inside_the_transaction(page, alice):
    told = []

    def note(user, **kwargs):
        told.append((user.display_name, transaction.get_connection().in_atomic_block))

    profile_changed.connect(note)
    try:
        page.post("/profile/", {**FORM, "display_name": "Alice L."})
    finally:
        profile_changed.disconnect(note)
    assert told == [("Alice L.", True)]


# --- Pictures --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP"])
def test_a_picture_of_any_usual_kind_becomes_a_square_webp(page, alice, media, kind):
    assert send(page, picture(kind)).status_code == 302
    (name,) = files(media)
    assert avatars.NAME.fullmatch(name)
    with Image.open(media / name) as image:
        assert (image.format, image.size) == ("WEBP", (256, 256))
    assert avatar_of(alice) == f"/avatars/{name}"
    assert f'src="/avatars/{name}"' in page.get("/profile/").content.decode()


def test_it_is_cropped_about_its_centre():
    image = Image.new("RGB", (900, 300), (255, 0, 0))
    image.paste((0, 0, 255), (300, 0, 600, 300))
    out = BytesIO()
    image.save(out, "PNG")
    with Image.open(BytesIO(avatars.clean_picture(upload(out.getvalue())))) as square:
        for corner in ((8, 8), (247, 247), (128, 128)):
            red, _, blue, _ = pixel(square, corner)
            assert blue > 200
            assert red < 50


def test_it_is_turned_as_the_camera_was_held_and_tells_nothing_about_the_camera():
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: show it rotated by 90 degrees
    exif[0x010F] = "SecretCamera"
    image = Image.new("RGB", (400, 400), (255, 0, 0))
    image.paste((0, 0, 255), (0, 0, 400, 200))  # blue on top as stored, which is right when shown
    out = BytesIO()
    image.save(out, "JPEG", exif=exif, quality=95, comment=b"SecretComment", icc_profile=b"SecretProfile")
    cleaned = avatars.clean_picture(upload(out.getvalue(), "me.jpg"))
    assert b"Secret" in out.getvalue()
    assert b"Secret" not in cleaned
    with Image.open(BytesIO(cleaned)) as square:
        assert not square.getexif()
        left, right = (pixel(square, (x, 128)) for x in (30, 226))
    assert left[0] > 200
    assert right[2] > 200


def test_transparency_stays():
    cleaned = avatars.clean_picture(upload(picture("PNG", (300, 300), (0, 0, 0, 0))))
    with Image.open(BytesIO(cleaned)) as square:
        assert pixel(square, (128, 128))[3] == 0


def bomb(width, height):
    """A PNG of a few bytes whose header promises a huge picture."""

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = chunk(b"IDAT", zlib.compress(b"\0" * 1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + rows + chunk(b"IEND", b"")


SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (SVG, "not a picture"),
        (b"<!doctype html><p>Hello", "not a picture"),
        (b"\x89PNG\r\n\x1a\n broken", "not a picture"),
        (picture()[:200], "not a picture"),
        (picture("BMP"), "not a picture"),
        (picture("TIFF"), "not a picture"),
        (bomb(6000, 6000), "too many pixels"),
        (bomb(12_000, 12_000), "too many pixels"),
        (bomb(60_000, 60_000), "too many pixels"),
    ],
    ids=["svg", "html", "broken", "cut off", "bmp", "tiff", "36 million", "144 million", "3.6 thousand million"],
)
def test_what_is_no_harmless_picture_is_refused_with_a_reason(page, alice, media, data, words):
    response = send(page, data)
    assert response.status_code == 422
    assert words in response.content.decode()
    alice.refresh_from_db()
    assert not alice.avatar
    assert files(media) == []


def test_too_many_bytes_are_refused_with_the_limit(page, media, settings):
    settings.AVATAR_MAX_BYTES = 2000
    response = send(page, picture() + b"\0" * 2000)
    assert response.status_code == 422
    assert "too large" in response.content.decode()
    assert files(media) == []


@pytest.mark.django_db(transaction=True)
def test_the_old_file_goes_when_the_new_one_is_in_place(page, media):
    send(page, picture())
    (first,) = files(media)
    send(page, picture(colour=(30, 200, 30)))
    (second,) = files(media)
    assert first != second
    page.post("/profile/", {**FORM, "remove_picture": "on"})
    assert files(media) == []
    assert 'class="avatar large tint-' in page.get("/profile/").content.decode()


@pytest.mark.django_db(transaction=True)
def test_a_profile_saved_without_a_picture_keeps_the_one_there_is(page, media):
    send(page, picture())
    page.post("/profile/", {**FORM, "bio": "Hello"})
    assert len(files(media)) == 1


@pytest.mark.django_db(transaction=True)
def test_a_rollback_keeps_the_old_file_and_leaves_no_new_one(page, alice, media):
    send(page, picture())
    before = files(media)
    alice.refresh_from_db()

    def fail(**kwargs):
        raise RuntimeError("no")

    profile_changed.connect(fail)
    try:
        with pytest.raises(RuntimeError):
            send(page, picture(colour=(30, 200, 30)))
    finally:
        profile_changed.disconnect(fail)
    assert files(media) == before
    assert avatar_of(alice) == f"/avatars/{before[0]}"


@pytest.mark.django_db(transaction=True)
def test_two_uploads_at_once_leave_one_file(alice, media):
    barrier = threading.Barrier(2)

    def change(colour):
        client = Client()
        client.force_login(alice)
        barrier.wait(10)
        assert send(client, picture(colour=colour)).status_code == 302
        connection.close()

    threads = [threading.Thread(target=change, args=(colour,)) for colour in ((1, 2, 3), (4, 5, 6))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    alice.refresh_from_db()
    assert files(media) == [alice.avatar.name.rpartition("/")[2]]


@pytest.mark.django_db(transaction=True)
def test_a_deleted_person_leaves_no_file(page, alice, media):
    send(page, picture())
    User.objects.get(pk=alice.pk).delete()
    assert files(media) == []


def test_a_picture_is_served_to_who_is_signed_in_and_kept_for_ever(page, alice, media):
    send(page, picture())
    address = avatar_of(alice)
    response = page.get(address)
    assert response.status_code == 200
    assert response["Content-Type"] == "image/webp"
    assert response["X-Content-Type-Options"] == "nosniff"
    assert response["Cache-Control"] == "private, max-age=31536000, immutable"
    assert response.content[:4] == b"RIFF"
    assert Client().get(address)["Location"].startswith("/accounts/login/")


@pytest.mark.parametrize("name", ["x.webp", "..%2f..%2fdb.sqlite3", "a" * 24 + ".webp", "a" * 24 + ".svg"])
def test_no_other_file_is_served(page, media, name):
    default_storage.save("avatars/" + "a" * 24 + ".svg", SimpleUploadedFile("x", SVG))
    assert page.get(f"/avatars/{name}").status_code == 404


# --- Names -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "letters"),
    [
        ("Alice", "A"),
        ("Ada King Lovelace", "AL"),
        ("bob (ops)", "BO"),
        ("Ægir Östman", "ÆÖ"),
        ("李 小龍", "李小"),
        ("🦊", "🦊"),
        ("🦊 Fox", "F"),
        ("", "?"),
    ],
)
def test_initials(name, letters):
    assert initials(name) == letters


def test_a_name_loses_what_cannot_be_seen():
    assert clean_name(" Al\u202eice\u0000\t B\u0308ob ") == "Alice B\u0308ob"
    assert clean_name("Zoe\u0308") == "Zoë"
    assert clean_name("👩\u200d🚀") == "👩\u200d🚀"

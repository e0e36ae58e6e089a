"""The review page in a browser: clicks, keys, what is kept, what goes out and comes in; its file without one."""

import base64
import contextlib
import io
import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from wsss_mm.visualization.review_page import THUMBNAIL, Candidate, thumbnail_uri, write_review

CHROMIUM = next(filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome', 'chrome'))), None)
HOSTILE = 'b</script><i>"&\'</i>'
# Chromium speaks the DevTools protocol over descriptors 3 and 4, which may be in use here.
START = ('import fcntl, os, sys\n'
         'r, w = (fcntl.fcntl(int(x), fcntl.F_DUPFD, 20) for x in sys.argv[1:3])\n'
         'os.dup2(r, 3), os.dup2(w, 4), os.execv(sys.argv[3], sys.argv[3:])')
FLAGS = ('--headless=new', '--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking',
         '--disable-dev-shm-usage', '--remote-debugging-pipe', '--window-size=900,700')


class Browser:
    """A headless Chromium with one page, driven over a pipe with real mouse and key events."""

    def __init__(self, profile):
        (read, self.out), (self.inn, write) = os.pipe(), os.pipe()
        self.process = subprocess.Popen(
            [sys.executable, '-c', START, str(read), str(write), CHROMIUM, *FLAGS, f'--user-data-dir={profile}'],
            pass_fds=(read, write), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        os.close(read), os.close(write)
        self.number, self.buffer, self.session, self.errors = 0, b'', None, []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with contextlib.suppress(Exception):   # only a browser that ends by itself has all its storage on the disk
            self.session = None
            self.call('Browser.close')
            self.process.wait(60)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        os.close(self.out), os.close(self.inn)

    def call(self, method, **params):
        self.number += 1
        session = {} if self.session is None else dict(sessionId=self.session)
        os.write(self.out, json.dumps(dict(id=self.number, method=method, params=params, **session)).encode() + b'\0')
        while True:
            message = self.receive()
            if message.get('method') in ('Runtime.exceptionThrown', 'Log.entryAdded'):
                self.errors.append(message['params'])
            if message.get('id') == self.number:
                assert 'error' not in message, (method, message['error'])
                return message['result']

    def receive(self):
        while b'\0' not in self.buffer:
            assert select.select([self.inn], [], [], 60)[0], 'the browser does not answer'
            part = os.read(self.inn, 1 << 16)
            assert part, 'the browser has ended'
            self.buffer += part
        first, _, self.buffer = self.buffer.partition(b'\0')
        return json.loads(first)

    def open(self, path):
        if self.session is None:
            target = self.call('Target.createTarget', url='about:blank')['targetId']
            self.session = self.call('Target.attachToTarget', targetId=target, flatten=True)['sessionId']
            for domain in ('Page', 'Runtime', 'Log', 'DOM'):
                self.call(f'{domain}.enable')
        self.call('Page.navigate', url=path.as_uri())
        self.wait(f'location.href == {json.dumps(path.as_uri())} && document.readyState == "complete"')
        # A page takes no input before its first frame: press a key of no meaning until one arrives.
        self.js('document.addEventListener("keydown", () => { window.awake = true; }, {once: true})')
        while not self.js('window.awake'):
            self.press('Shift')
        return self

    def open_again(self, path):
        """Open a page anew; what it has stored may be on its way between Chromium's processes for a moment."""
        count = self.count
        for _ in range(20):
            if self.open(path).count == count:
                break
            time.sleep(.5)
        return self

    def js(self, code):
        result = self.call('Runtime.evaluate', expression=code, returnByValue=True, awaitPromise=True)
        assert 'exceptionDetails' not in result, result
        return result['result'].get('value')

    def wait(self, condition):
        for _ in range(300):
            with contextlib.suppress(AssertionError):   # between two pages
                if self.js(condition):
                    return
            time.sleep(.05)
        raise AssertionError(f'never came true: {condition}')

    def click(self, selector):
        x, y = self.js(f'(() => {{ const e = document.querySelector({json.dumps(selector)}); e.scrollIntoView('
                       '{block: "center"}); const r = e.getBoundingClientRect(); return [r.x + r.width / 2, '
                       'r.y + r.height / 2]; })()')
        for kind in ('mousePressed', 'mouseReleased'):
            self.call('Input.dispatchMouseEvent', type=kind, x=x, y=y, button='left', clickCount=1)

    def press(self, *keys):
        for key in keys:
            code = dict(zip(('ArrowLeft', 'ArrowUp', 'ArrowRight', 'ArrowDown', ' '), (37, 38, 39, 40, 32),
                            strict=True)).get(key, ord(key[0].upper()))
            text = dict(text=key) if len(key) == 1 else {}
            self.call('Input.dispatchKeyEvent', type='keyDown', key=key, windowsVirtualKeyCode=code, **text)
            self.call('Input.dispatchKeyEvent', type='keyUp', key=key, windowsVirtualKeyCode=code)

    @property
    def rejected(self):
        return self.js('[...document.querySelectorAll(".card[aria-pressed=true] bdi")].map(e => e.textContent)')

    @property
    def focused(self):
        return self.js('(document.activeElement.querySelector("bdi") || document.activeElement).textContent')

    @property
    def count(self):
        return self.js('document.getElementById("count").textContent')

    @property
    def note(self):
        return self.js('document.getElementById("note").textContent')


@pytest.fixture
def start(tmp_path):
    """Start browsers of one profile, one after the other."""
    if CHROMIUM is None:
        pytest.skip('no Chromium or Chrome in PATH')
    return lambda: Browser(tmp_path / 'profile')


def candidates(*ids, side=48):
    rng = np.random.default_rng(0)
    return [Candidate(i, rng.integers(0, 256, (side, side * 3 // 2, 3)).astype(np.uint8), [('boat', .9 - .01 * n)])
            for n, i in enumerate(ids)]


BOATS = ['a', HOSTILE, 'sub/c', 'd é', *(f'e{n}' for n in range(6))]
TRAINS = ['t0', 't1']


@pytest.fixture
def review(tmp_path):
    return write_review(tmp_path / 'review.html', 'Candidates <of> & ours',
                        dict(boat=candidates(*BOATS), train=candidates(*TRAINS)))[0]


def test_click_and_keys_toggle_and_move(start, review):
    with start() as page:
        page.open(review)
        assert page.focused == 'a' and page.rejected == [] and page.count == '12 kept, 0 rejected of 12'
        page.click('.card:nth-child(2)')
        assert page.rejected == [HOSTILE] and page.focused == HOSTILE and page.count == '11 kept, 1 rejected of 12'
        page.press('x', ' ')   # kept, rejected: the space bar must not press the button a second time
        assert page.rejected == [HOSTILE]
        page.press('ArrowRight', ' ', 'ArrowRight', 'x', 'ArrowLeft', 'ArrowLeft', 'ArrowLeft', 'ArrowLeft', 'x')
        assert page.rejected == ['a', HOSTILE, 'sub/c', 'd é']
        columns = page.js('getComputedStyle(document.getElementById("grid")).gridTemplateColumns.split(" ").length')
        assert 1 < columns < 10
        page.press('ArrowDown')
        assert page.focused == BOATS[columns]
        page.press('ArrowUp', 'ArrowUp')
        assert page.focused == 'a'
        page.press('n', 'x')
        assert page.focused == 't0' and page.rejected == ['t0']
        assert page.js('[...document.querySelectorAll("#classes button")].map(e => e.textContent)') == [
            'boat6/10', 'train1/2']
        page.press('n', 'p')   # after the last class there is none
        assert page.focused == 'a'
        page.click('#next')
        assert page.focused == 't0' and page.rejected == ['t0']
        assert not page.errors
        assert page.js('document.querySelector("h1").textContent') == 'Candidates <of> & ours'


def test_what_was_decided_outlives_the_browser_and_belongs_to_its_list(start, review, tmp_path):
    with start() as page:
        page.open(review)
        page.press('ArrowRight', 'x', 'n', 'ArrowRight', 'x')
        page.wait('document.getElementById("count").textContent.startsWith("10 kept")')
        page.open_again(review)
        assert page.count == '10 kept, 2 rejected of 12' and page.rejected == ['t1']
    with start() as page:
        page.open(review)
        assert page.count == '10 kept, 2 rejected of 12' and page.rejected == ['t1'] and page.focused == 't1'
        page.press('p')
        assert page.rejected == [HOSTILE]
        other = write_review(tmp_path / 'other.html', 'Other', dict(boat=candidates('a', 't1')))[0]
        page.open(other)
        assert page.count == '2 kept, 0 rejected of 2' and not page.errors


def test_export_and_import(start, review, tmp_path):
    downloads = tmp_path / 'downloads'
    with start() as page:
        page.open(review)
        page.call('Browser.setDownloadBehavior', behavior='allow', downloadPath=str(downloads))
        page.press('x', 'n', 'x')
        page.click('#export')
        path = downloads / 'hard.txt'
        deadline = time.monotonic() + 20
        while not (path.is_file() and path.read_text().endswith('t1\n')) and time.monotonic() < deadline:
            time.sleep(.05)
        assert path.read_text() == ''.join(f'{i}\n' for i in [*BOATS[1:], 't1'])
        assert page.note == '10 kept images written to hard.txt.'

        def choose(text):
            (tmp_path / 'list.txt').write_text(text)
            found = page.call('Runtime.evaluate', expression='document.getElementById("file")')['result']
            page.js('document.getElementById("note").textContent = ""')
            page.call('DOM.setFileInputFiles', files=[str(tmp_path / 'list.txt')], objectId=found['objectId'])
            page.wait('document.getElementById("note").textContent')
        choose('t0\r\n\n a \nelsewhere\n')
        assert page.count == '2 kept, 10 rejected of 12' and page.rejected == ['t1']
        assert page.note == 'list.txt: 2 images kept, 10 rejected; 1 more of its lines are not on this page.'
        choose('elsewhere\n')
        assert page.count == '2 kept, 10 rejected of 12' and 'nothing was changed' in page.note
        choose(path.read_text())
        assert page.count == '10 kept, 2 rejected of 12' and page.rejected == ['t0'] and not page.errors


def data_of(path):
    return json.loads(re.search(r'id="data">(.*?)</script>', path.read_text(), re.S)[1])


def test_the_file_loads_nothing_and_holds_every_picture_small(tmp_path):
    large = np.zeros((300, 1200, 3), np.uint8)
    large[..., 0] = 255
    path, = write_review(tmp_path / 'r.html', 'T', dict(boat=[Candidate('x', lambda: large, [('boat', .75)]),
                                                            *candidates('y')]), 'mine.txt')
    text = path.read_text()
    assert not re.search(r'(?:src|href)="(?!data:)', text) and '://' not in text.replace('data:', '')
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', text)[1]
    assert policy.startswith("default-src 'none'") and "'unsafe-inline'; script-src 'sha256-" in policy
    data = data_of(path)
    assert data['file'] == 'mine.txt' and data['classes'][0]['images'][0][2] == [['boat', .75]]
    with Image.open(io.BytesIO(base64.b64decode(data['classes'][0]['images'][0][1].split(',')[1]))) as picture:
        assert picture.size == (THUMBNAIL, THUMBNAIL // 4)
        np.testing.assert_allclose(picture.getpixel((9, 9)), (255, 0, 0), atol=3)
    with Image.open(io.BytesIO(base64.b64decode(data['classes'][0]['images'][1][1].split(',')[1]))) as picture:
        assert picture.size == (72, 48)   # never enlarged


def test_many_candidates_make_several_files(tmp_path):
    steps = []
    paths = write_review(tmp_path / 'review.html', 'T', dict(boat=candidates('a', 'b', 'c'), train=candidates('t')),
                         progress=lambda: steps.append(1), per_file=2)
    assert [p.name for p in paths] == ['review_1.html', 'review_2.html'] and len(steps) == 4
    found = [data_of(p) for p in paths]
    assert [[(g['name'], [i[0] for i in g['images']]) for g in d['classes']] for d in found] == [
        [('boat', ['a', 'b'])], [('boat', ['c']), ('train', ['t'])]]
    assert [d['file'] for d in found] == ['hard_1.txt', 'hard_2.txt'] and found[0]['key'] != found[1]['key']
    assert 'T (2 of 2)' in paths[1].read_text()
    (tmp_path / 'review_mine.html').write_text('')
    again = write_review(tmp_path / 'review.html', 'T', dict(boat=candidates('a')))
    assert {p.name for p in tmp_path.iterdir()} == {again[0].name, 'review_mine.html'}


@pytest.mark.parametrize('ids', [[], ['a', 'a']])
def test_what_cannot_be_reviewed(ids, tmp_path):
    with pytest.raises(ValueError, match='each once'):
        write_review(tmp_path / 'r.html', 'T', dict(boat=candidates(*ids)))


def test_grey_and_thin_pictures_become_thumbnails():
    assert thumbnail_uri(np.zeros((1, 900, 3), np.uint8)).startswith('data:image/jpeg;base64,')

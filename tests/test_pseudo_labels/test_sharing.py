"""Labelling by several real processes: killed, stopped, late, with clocks that are wrong; always the same bytes."""

import json
import os
import signal
import threading
import time

import pytest
from mmengine.config import Config

from wsss_mm.pseudo_labels.run import LabellingRun
from wsss_mm.pseudo_labels.sharing import SharedWork, SharingEnded, whereabouts

pytestmark = pytest.mark.skipif(not hasattr(os, 'fork'), reason='starts processes by fork')


@pytest.fixture(scope='module')
def config(toy_root, write_config, tmp_path_factory):
    folder = tmp_path_factory.mktemp('sharing')
    return write_config(folder / 'fill.py', 'box_baselines/box_fill_toy.py', f"""
pseudo_labels = dict(out_dir='{folder}/unbroken', num_workers=0, dataset=dict(
    data_root='{toy_root}', ann_file='ImageSets/Segmentation/train.txt'))
""")


@pytest.fixture(scope='module')
def unbroken(config, contents):
    run = LabellingRun(Config.fromfile(config))
    assert run.run() == dict(complete=True, labelled=12, skipped=0, failures={})
    return contents(run.folder.root)


@pytest.fixture
def start(config, tmp_path):
    """Begin a labelling run in a process of its own; with ``hold`` it says there which image it is at, and waits."""
    children = []

    def start(stale_after=60., hold=None):
        if pid := os.fork():
            children.append(pid)
            return pid
        try:
            cfg = Config.fromfile(config)
            cfg.pseudo_labels.out_dir = str(tmp_path / 'labels')
            run = LabellingRun(cfg, stale_after=stale_after)
            label = run.generator.label

            def slow(sample, *rest):
                if hold:
                    hold.write_text(sample.image_id)
                    while hold.exists():
                        time.sleep(.01)
                return label(sample, *rest)
            run.generator.label = slow
            code = 0 if run.run()['complete'] else 1
        except BaseException:
            code = 3
        os._exit(code)
    yield start
    for pid in children:
        try:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        except (ProcessLookupError, ChildProcessError):
            continue


def code_of(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def until(condition, what):
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, f'waited a minute: {what}'
        time.sleep(.01)


def lines(root):
    return [len(path.read_bytes().splitlines()) for path in root.glob('sharing/*.jsonl')]


def test_processes_share_the_work_and_change_no_byte(start, unbroken, contents, tmp_path):
    """Two that are slow, and one that comes later and does the rest."""
    root, holds = tmp_path / 'labels', [tmp_path / 'first', tmp_path / 'second']
    pids = [start(hold=hold) for hold in holds]
    until(lambda: all(hold.exists() for hold in holds), 'an image each')
    pids.append(start())
    until(lambda: sorted(lines(root)) == [0, 0, 10], 'the rest')
    assert not json.loads((root / 'run.json').read_text())['complete']
    for hold in holds:
        hold.unlink()
    assert [code_of(pid) for pid in pids] == [0, 0, 0] and contents(root) == unbroken


def test_what_a_killed_process_held_is_done_by_the_others(start, unbroken, contents, tmp_path):
    root, hold = tmp_path / 'labels', tmp_path / 'hold'
    dying = start(hold=hold)
    until(hold.exists, 'its first image')
    living = start()
    until(lambda: sum(lines(root)) == 11, 'all but one image')
    assert hold.read_text() not in str([path.read_text() for path in root.glob('sharing/*.jsonl')])
    begun = time.monotonic()
    os.kill(dying, signal.SIGKILL)   # not waited for: a zombie is dead, too
    assert code_of(living) == 0 and contents(root) == unbroken
    assert time.monotonic() - begun < 30, 'on one machine nobody has to wait for the dead'


def test_the_claims_of_a_killed_run_do_not_hold_up_the_next(start, unbroken, contents, tmp_path):
    root, hold = tmp_path / 'labels', tmp_path / 'hold'
    for _ in range(3):
        dying = start(hold=hold)
        until(hold.exists, 'an image')
        os.kill(dying, signal.SIGKILL)
        assert code_of(dying) == -signal.SIGKILL
        hold.unlink()
        token = next(root.glob('sharing/*.alive')).stem
        (root / f'.x.png.tmp-{token}-1').write_bytes(b'half')
    assert len(list(root.glob('sharing/claims/*'))) == 3
    assert code_of(start()) == 0 and contents(root) == unbroken


def test_a_stopped_process_is_overtaken_and_does_no_harm_when_it_goes_on(start, unbroken, contents, tmp_path):
    root, hold = tmp_path / 'labels', tmp_path / 'hold'
    stopped = start(hold=hold, stale_after=.6)
    until(hold.exists, 'its first image')
    os.kill(stopped, signal.SIGSTOP)
    hold.unlink()
    assert code_of(start(stale_after=.6)) == 0
    assert contents(root) == unbroken
    os.kill(stopped, signal.SIGCONT)
    assert code_of(stopped) == 0 and contents(root) == unbroken


def test_a_slow_process_is_waited_for(start, unbroken, contents, tmp_path):
    """However long it takes for an image, its signs of life go on."""
    root, hold = tmp_path / 'labels', tmp_path / 'hold'
    slow = start(hold=hold, stale_after=.6)
    until(hold.exists, 'its first image')
    fast = start(stale_after=.6)
    until(lambda: sum(lines(root)) == 11, 'all but one image')
    time.sleep(1.5)
    assert os.waitpid(fast, os.WNOHANG) == (0, 0) and sum(lines(root)) == 11
    hold.unlink()
    until(lambda: hold.exists() or not (root / 'sharing').exists(), 'its end')
    assert [code_of(fast), code_of(slow)] == [0, 0] and contents(root) == unbroken


# ---------------------------------------------------------------- signs of life

def elsewhere(folder, token, stamp=None):
    """An owner on another machine, with a clock of its own."""
    path = folder / f'{token}.alive'
    path.write_text(json.dumps(dict(whereabouts(), place='another', pid=1)) + '\n')
    if stamp is not None:
        os.utime(path, (stamp, stamp))
    return path


@pytest.mark.parametrize('stamp', [0, 4e9])   # seconds since 1970: long ago, far ahead
def test_clocks_are_never_compared(tmp_path, stamp):
    with SharedWork(tmp_path, stale_after=.4) as work:
        path, begun = elsewhere(tmp_path, 'other', stamp), time.monotonic()
        while time.monotonic() < begun + 1:
            assert not work.is_gone('other')
            with open(path, 'ab') as stream:
                stream.write(b'.')
            os.utime(path, (stamp, stamp))
            time.sleep(.05)
        until(lambda: work.is_gone('other'), 'no life')
        with open(path, 'ab') as stream:
            stream.write(b'.')      # it was only slow
        assert not work.is_gone('other')


def test_who_is_gone_and_who_is_not(tmp_path):
    with SharedWork(tmp_path) as work, SharedWork(tmp_path) as second:
        elsewhere(tmp_path, 'far')
        own = tmp_path / f'{second.token}.alive'
        assert not work.is_gone(second.token) and work.is_here(second.token)
        assert not work.is_gone('far') and not work.is_here('far')
        assert work.is_gone('left') and not work.is_here('left')
        who = json.loads(own.read_text())
        for change in (dict(started='7'), dict(pid=2 ** 22 + 1)):   # the number is another's now, or nobody's
            own.write_text(json.dumps({**who, **change}))
            assert work.is_gone(second.token) and not work.is_here(second.token)
        own.write_text('{"ho')                                      # being written
        assert not work.is_gone(second.token)


def test_a_share_is_claimed_once_until_its_owner_is_gone(tmp_path):
    with SharedWork(tmp_path) as first:
        with SharedWork(tmp_path) as second:
            assert first.take(3) and not second.take(3) and not first.take(3)
            assert second.take(4)
        assert first.take(4) and not first.take(4)
        assert sorted(os.listdir(tmp_path / 'claims')) == ['3.0', '4.0', '4.1']
        (tmp_path / 'claims/5.0').touch()       # its owner died before it could write its name
        assert not first.take(5)
        first.stale_after = -1
        assert first.take(5)


def test_two_keep_out_of_each_others_way(tmp_path):
    """The second begins in the middle of what is left; what is done is passed over; nothing is given twice."""
    with SharedWork(tmp_path) as first, SharedWork(tmp_path) as second:
        ours, theirs = (work.claimed(12, lambda share: share != 6) for work in (first, second))
        assert [next(ours), next(ours)] == [0, 1]
        assert [next(theirs), next(theirs)] == [9, 10]      # 2 … 5, 7 … 11: the longer row is 7 … 11
        assert [next(ours) for _ in range(6)] == [2, 3, 4, 5, 7, 8]
        assert next(theirs) == 11 and next(ours, None) is None and next(theirs, None) is None


def test_many_at_once_get_every_share_once(tmp_path):
    found, works = [], [SharedWork(tmp_path).__enter__() for _ in range(8)]

    def take(work):
        for share in work.claimed(200, lambda share: True):
            found.append(share)
            time.sleep(0)
    threads = [threading.Thread(target=take, args=(work, )) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == list(range(200))
    works[0].end()
    assert all(work.ended() for work in works) and not list(tmp_path.parent.glob(f'.{tmp_path.name}*'))
    with pytest.raises(SharingEnded):
        works[1].take(7)
    for work in works:
        work.__exit__()


def test_the_last_line_counts_what_others_did_after_this_processs_last_image(config, tmp_path, monkeypatch, capsys):
    """What is left after a process's own images is seen as it claims, with no image of its own to say so by."""
    cfg = Config.fromfile(config)
    cfg.pseudo_labels.out_dir = str(tmp_path / 'labels')
    first, second = LabellingRun(cfg), LabellingRun(cfg)
    monkeypatch.setattr(second.folder, 'finish', lambda gather: False)   # which is left to the first
    claim = first.folder.claimed

    def claimed(shares):
        shares = claim(shares)
        yield next(shares)
        yield next(shares)
        assert second.run()['labelled'] == 10
        capsys.readouterr()
        yield from shares

    monkeypatch.setattr(first.folder, 'claimed', claimed)
    assert first.run() == dict(complete=True, labelled=2, skipped=10, failures={})
    assert '12/12 (100 %)' in capsys.readouterr().out.splitlines()[-1]

"""The labelling run: dataset → network → worker processes → files, resumed, shared by processes, with failures."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from mmengine.config import Config
from mmengine.model import is_model_wrapper
from PIL import Image
from torch import Tensor, nn

from wsss_mm.config_hash import digest, plain, settings_of
from wsss_mm.distributed import rank
from wsss_mm.errors import CheckpointError, ConfigError, describe_error
from wsss_mm.progress import Progress
from wsss_mm.pseudo_labels.generator import LabelGenerator
from wsss_mm.pseudo_labels.run_folder import RunFolder
from wsss_mm.pseudo_labels.sharing import SharingEnded
from wsss_mm.pseudo_labels.workers import LabelWorkers
from wsss_mm.registry import DATASETS, MODELS, TASK_UTILS, enter_scope
from wsss_mm.requirements import installed_versions
from wsss_mm.safe_loading import file_sha256, load_checkpoint_file
from wsss_mm.structures import ImageSample

_EXIF_ORIENTATION = 0x0112
# At most so many claims, whatever the list: their files are few, and a share is a small part of the whole.
_SHARES = 4096
Key = TypeVar('Key', bound=Hashable)
Item = TypeVar('Item')
Found = TypeVar('Found')


class LabellingRun:
    """Labels every image of a dataset as ``cfg.pseudo_labels`` says.

    ``pseudo_labels`` holds ``out_dir``, ``dataset`` (with a test pipeline), ``generator``, ``num_workers`` and
    ``batch_size``; for a generator that needs a model also ``cfg.model`` and a checkpoint. The network runs in this
    process, on up to ``batch_size`` (1) images of one size at a time, unpadded; maps, CRF and files are made by
    ``num_workers`` processes of one thread each behind a bounded queue, so memory does not grow with the dataset.
    Any number of processes may label into one folder, begin and die at any time: each takes the next batches that
    nobody has, and those of the dead (:class:`~wsss_mm.pseudo_labels.sharing.SharedWork`). The batches are those of
    the whole list, whatever is done already or another's, so the files do not depend on the number of workers or
    processes, on the order or on interruptions.

    Args:
        cfg: The whole config.
        checkpoint: The trained model's file; default ``<work_dir>/final.pth``.
        device: Where the network runs.
        stale_after: Seconds without a sign of life after which a process on another machine counts as dead.

    Raises:
        ConfigError: no ``pseudo_labels``, or its folder holds another run.
        CheckpointError: no checkpoint, or one of another network.
    """

    def __init__(self, cfg: Config, checkpoint: str | Path | None = None, device: str = 'cpu',
                 stale_after: float = 60.) -> None:
        if not cfg.get('pseudo_labels'):
            raise ConfigError('no pseudo_labels section', file=cfg.filename, expected='pseudo_labels = dict(out_dir=…, '
                              'dataset=…, generator=…)', fix='take a config that makes labels, as '
                              'configs/bap/classifier_toy.py')
        enter_scope(cfg)
        section = cfg.pseudo_labels
        self.device = device
        self.num_workers = section.get('num_workers', 2)
        self.batch_size = section.get('batch_size', 1)
        if self.batch_size < 1:
            raise ConfigError(f'pseudo_labels.batch_size={self.batch_size}', file=cfg.filename, expected='1 or more')
        self.generator: LabelGenerator = TASK_UTILS.build(section.generator)
        self.dataset = DATASETS.build(section.dataset)
        self.checkpoint: Path | None = None
        self.model: Any = None
        if self.generator.needs_model:
            self.checkpoint = Path(checkpoint or Path(cfg.work_dir) / 'final.pth')
            self.model = load_model(cfg, self.checkpoint)
        self.folder = RunFolder(section.out_dir, self._describe(cfg), stale_after)

    def _describe(self, cfg: Config) -> dict[str, Any]:
        keys = ['pseudo_labels'] + (['model'] if self.generator.needs_model else [])
        settings = settings_of(cfg, keys)
        if self.checkpoint:
            settings['checkpoint'] = file_sha256(self.checkpoint)
        settings.update(self.generator.fingerprint())
        return dict(hash=digest(settings), settings=settings, outputs=list(self.generator.outputs),
                    config=plain(cfg.pseudo_labels), versions=installed_versions(),
                    checkpoint=str(self.checkpoint) if self.checkpoint else None,
                    config_file=Path(cfg.filename).name if cfg.filename else None)

    def run(self) -> dict[str, Any]:
        """Label what is missing; return when nothing is left, whoever has done it.

        Returns:
            ``complete``; ``labelled``, the number of images done by this process, and ``skipped`` of those that were
            done before or by others; ``failures`` (text per image id), whichever process met them.
        """
        # one at a time: an info holds all objects of its image
        infos = map(self.dataset.get_data_info, range(len(self.dataset)))
        path_of = [(info['img_id'], info['img_path']) for info in infos]
        ids = [image_id for image_id, _ in path_of]
        batches = size_batches([path for _, path in path_of], 1 if self.model is None else self.batch_size)
        labelled: set[str] = set()
        progress: Progress | None = None
        while True:
            if self.folder.begin(ids):
                if progress:
                    progress.reach(len(ids), 0)
                    progress.finish()
                return self._result(ids, labelled, complete=True)
            progress = progress or Progress(len(ids), f'labels → {self.folder.root}',
                                            done=len(ids) - len(self.folder.open_ids), quiet=rank() != 0)
            try:
                with self.folder:
                    self._work(ids, batches, labelled, progress)
                    complete = self.folder.finish(self.generator.gather)
                return self._result(ids, labelled, complete)
            except SharingEnded:   # another process ended the run before this one had seen all of it: look again
                continue

    def _result(self, ids: Sequence[str], labelled: set[str], complete: bool) -> dict[str, Any]:
        failures = dict(self.folder.failures)
        return dict(complete=complete, labelled=len(labelled), skipped=len(ids) - len(labelled) - len(failures),
                    failures=failures)

    def _work(self, ids: Sequence[str], batches: Sequence[Sequence[int]], labelled: set[str],
              progress: Progress) -> None:
        """Label until no image of the list is left, by this process or another."""
        left, failures = self.folder.open_ids, self.folder.failures
        per_share = math.ceil(len(batches) / _SHARES)
        shares = [batches[i:i + per_share] for i in range(0, len(batches), per_share)] if batches else []
        share_ids = [[ids[i] for batch in share for i in batch] for share in shares]
        if self.model is not None:
            self.model.to(self.device).eval()
        constants = {k: v.detach().float().cpu() for k, v in self.generator.constants(self.model).items()}
        palette = self.dataset.metainfo['palette']
        with LabelWorkers(self.generator, constants, palette, self.folder.root, self.folder.sharing.token,
                          self.num_workers) as workers:
            while left:
                claimed = (batch for share in self.folder.claimed(share_ids) for batch in shares[share])
                for image_id, hashes, notes, error in workers.map(self._samples(claimed, left, ids)):
                    if error:
                        self.folder.fail(image_id, error)
                    else:
                        self.folder.add(image_id, hashes, notes)
                        labelled.add(image_id)
                    progress.reach(len(ids) - len(left), len(failures))
                if left:
                    self.folder.wait()
                progress.reach(len(ids) - len(left), len(failures))   # claiming and waiting saw what others did
        progress.finish()

    def _samples(self, batches: Iterable[Sequence[int]], left: Set[str], ids: Sequence[str]
                 ) -> Iterator[tuple[str, Any, Any, str | None]]:
        """Yield ``(id, ImageSample, features, None)``, or ``(id, None, None, error)`` for an image that fails."""
        for batch in batches:
            todo = {i for i in batch if ids[i] in left}
            if not todo:
                continue
            loaded: dict[int, dict] = {}
            for i in batch:
                try:
                    data = self.dataset.prepare_data(i)
                    loaded[i] = dict(data, sample=image_sample(ids[i], data))
                except Exception as error:   # one bad image never stops a run
                    if i in todo:
                        yield ids[i], None, None, describe_error(error)
            for i, features in self._features(batch, loaded):
                if i in todo and isinstance(features, str):
                    yield ids[i], None, None, features
                elif i in todo:
                    yield ids[i], loaded[i]['sample'], features, None

    def _features(self, batch: Sequence[int], loaded: dict[int, dict]) -> list[tuple[int, dict | str]]:
        """Features of the images that could be loaded, or the error of each."""
        if self.model is None or not loaded:
            return [(i, {}) for i in loaded]
        return list(run_together(batch, loaded, self._extract).items())

    @torch.no_grad()
    def _extract(self, batch: list[dict]) -> list[dict[str, Tensor]]:
        inputs = self.model.data_preprocessor(dict(
            inputs=[data['inputs'] for data in batch],
            data_samples=[data['data_samples'] for data in batch]), False)
        return self.generator.extract_batch(self.model, [data['sample'].image for data in batch], inputs['inputs'],
                                            inputs['data_samples'])


def run_together(batch: Sequence[Key], loaded: Mapping[Key, Item], run: Callable[[list[Item]], Sequence[Found]]
                 ) -> dict[Key, Found | str]:
    """Run a batch of images of which some may be unreadable, and one by one where it fails as a whole.

    Args:
        batch: Keys of its images.
        loaded: Those that could be read.
        run: All images of a batch -> a result for each.

    Returns:
        For each image that could be read its result, or the text of its error.

    Raises:
        ConfigError: as ``run``; it would meet every image.
    """
    if not loaded:
        return {}
    # Another image stands in for one that failed: in a smaller batch, sums may be rounded otherwise.
    stand_in = next(iter(loaded.values()))
    try:
        found = run([loaded.get(key, stand_in) for key in batch])
        return {key: result for key, result in zip(batch, found, strict=True) if key in loaded}
    except ConfigError:
        raise
    except Exception as error:
        if len(batch) == 1:
            return {batch[0]: describe_error(error)}
    # Out of the handler: the error would keep the batch's memory.
    return {key: found for own in loaded for key, found in run_together([own], {own: loaded[own]}, run).items()}


def size_batches(paths: Sequence[str], batch_size: int) -> list[list[int]]:
    """Divide images into batches of one size each, reading no more of them than their headers.

    Args:
        paths: Image files, in the order of the list.
        batch_size: Largest batch.

    Returns:
        Numbers of the images, ascending within a batch; the batches are ordered by their first image. A file that is
        no image has a batch of its own.
    """
    if batch_size == 1:
        return [[i] for i in range(len(paths))]
    batches: list[list[int]] = []
    open_batches: dict[tuple[int, int] | None, list[int]] = {}
    for i, path in enumerate(paths):
        size = image_size(path)
        batch = open_batches.get(size)
        if batch is None or len(batch) == batch_size or size is None:
            batch = open_batches[size] = []
            batches.append(batch)
        batch.append(i)
    return batches


def image_size(path: str | Path) -> tuple[int, int] | None:
    """Height and width as an image is read, its EXIF orientation applied; None where it has none to read."""
    try:
        with Image.open(path) as picture:
            width, height = picture.size
            turned = picture.getexif().get(_EXIF_ORIENTATION, 1) in (5, 6, 7, 8)
            return (width, height) if turned else (height, width)
    except Exception:   # whatever it is, reading the image will say
        return None


def image_sample(image_id: str, data: dict[str, Any]) -> ImageSample:
    """The weak labels of a packed image, with segmentation ids (class index + 1)."""
    packed = data['data_samples']
    image = data['inputs'].flip(0).permute(1, 2, 0).contiguous().numpy()   # the pipeline reads BGR
    boxes = packed.gt_instances if 'gt_instances' in packed else None
    return ImageSample(
        image_id=image_id, image=image,
        boxes=boxes.bboxes.numpy() if boxes is not None else torch.zeros(0, 4).numpy(),
        box_labels=boxes.labels.numpy() + 1 if boxes is not None else torch.zeros(0, dtype=torch.int64).numpy(),
        tags=(packed.gt_label.nonzero().flatten() + 1).numpy() if 'gt_label' in packed else torch.zeros(
            0, dtype=torch.int64).numpy(),
        annotations=packed.metainfo.get('annotations'), crowds=packed.metainfo.get('crowds', []))


def load_model(cfg: Config, checkpoint: str | Path) -> nn.Module:
    """Build ``cfg.model`` and load a checkpoint into it, strictly; what it says of its classes is ``dataset_meta``.

    Raises:
        CheckpointError: unsafe, unreadable, or its weights are of another network.
    """
    model = MODELS.build(copy.deepcopy(cfg.model))   # mmdet's detectors write into what they are built of
    meta = load_weights(model, checkpoint, cfg).get('meta')
    if isinstance(meta, dict) and meta.get('dataset_meta'):
        model.dataset_meta = meta['dataset_meta']
    return model


def load_weights(model: nn.Module, checkpoint: str | Path, cfg: Config) -> dict[str, Any]:
    """Load a checkpoint into the model of a config (wrapped for several GPUs or not), strictly; gives what it holds.

    Raises:
        CheckpointError: as :func:`load_model`.
    """
    loaded = load_checkpoint_file(checkpoint)
    weights = loaded.get('state_dict', loaded)
    bare = cast(nn.Module, model.module) if is_model_wrapper(model) else model
    try:
        bare.load_state_dict(weights, strict=True)
    except RuntimeError as error:
        lines = [x.strip() for x in str(error).splitlines()[1:4]]
        raise CheckpointError('the weights are of another network: ' + ' '.join(lines)[:400], file=checkpoint,
                              expected=f'a checkpoint of {cfg.model.type} as in {cfg.filename}',
                              fix='name the checkpoint that this config trained') from None
    return loaded

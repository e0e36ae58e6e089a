"""The readers that fuzzing tries: a small valid file of each kind, and what reads it."""

from __future__ import annotations

import io
import json
import pickle
import shutil
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from PIL import Image

from wsss_mm.array_files import npz_bytes
from wsss_mm.datasets import CocoBoxDataset
from wsss_mm.datasets import label_readers as readers
from wsss_mm.datasets.own_data import boxes, masks, pictures, problems, tags
from wsss_mm.datasets.prepare_coco import CATEGORIES, read_instances
from wsss_mm.datasets.prepare_instances import read_sbd_instances
from wsss_mm.datasets.prepare_voc import read_sbd_mask
from wsss_mm.evaluation.coco_files import index, read_truth, run_lengths_of
from wsss_mm.files import label_png, read_json
from wsss_mm.models.backbones.mxnet_params import read_mxnet_params
from wsss_mm.pseudo_labels.foreign_maps import ForeignMaps
from wsss_mm.pseudo_labels.run_folder import RunFolder, read_manifest
from wsss_mm.pseudo_labels.sharing import whereabouts
from wsss_mm.refinement.proposal_files import MaskProposals
from wsss_mm.refinement.proposals import Proposals
from wsss_mm.run_lengths import encode_masks
from wsss_mm.safe_loading import file_sha256, load_checkpoint_file
from wsss_mm.safe_pickle import load_npy, load_npz, load_pickle
from wsss_mm.structures import ClassMaps, ImageSample, ObjectMaps

H, W = 6, 8
CLASSES = ('background', 'cat', 'dog')
XML = b"""<annotation><size><width>8</width><height>6</height><depth>3</depth></size>
<object><name>cat</name><difficult>0</difficult><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>5.5</xmax><ymax>6</ymax></bndbox>
</object><object><name>dog</name><bndbox><xmin>3</xmin><ymin>1</ymin><xmax>8</xmax><ymax>4</ymax></bndbox></object>
</annotation>"""


class Reader(NamedTuple):
    """What is tried.

    Attributes:
        seeds: Content of valid files by name.
        read: Reads one of them, by its path; the folder holds nothing else unless ``together``.
        together: All seeds are there, one of them damaged.
    """

    seeds: Mapping[str, bytes]
    read: Callable[[Path], Any]
    together: bool = False


def all_readers(beside: Path) -> dict[str, Reader]:
    """The readers by name.

    Args:
        beside: Folder for files that they look at besides, which are not damaged.
    """
    return {**_images_and_lists(beside), **_coco(beside), **_arrays(), **_proposals(), **_checkpoints(),
            **_own_data(beside), **_runs(beside)}


def _picture(mode: str = 'RGB', form: str = 'PNG', **how: Any) -> bytes:
    pixels = np.arange(H * W * 3, dtype=np.uint8).reshape(H, W, 3)
    buffer = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(buffer, form, **how)
    return buffer.getvalue()


def _exif(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[274] = orientation
    return exif


def _label() -> np.ndarray:
    label = np.zeros((H, W), np.uint8)
    label[1:3, 2:5], label[4:, 6:], label[3] = 1, 2, 255
    return label


def _images_and_lists(beside: Path) -> dict[str, Reader]:
    from scipy.io import savemat

    def mat(**content: Any) -> bytes:
        buffer = io.BytesIO()
        savemat(buffer, content)
        return buffer.getvalue()

    index_of = {name: i for i, name in enumerate(CLASSES[1:])}
    png = label_png(_label(), [[0, 0, 0], [9, 9, 9], [99, 0, 0]])
    numbers = np.minimum(_label(), 2)
    return {
        'read_voc_xml': Reader({'a.xml': XML}, lambda path: [
            readers.read_voc_xml(path, index_of, convention, outside) for convention, outside
            in (('exact', 'clip'), ('official', 'error'))]),
        'read_image': Reader({
            'a.jpg': _picture(form='JPEG'), 'b.jpg': _picture('CMYK', 'JPEG', exif=_exif(6)), 'c.png': _picture('P'),
            'd.png': _picture('LA', exif=_exif(3)), 'e.bmp': _picture(form='BMP'), 'f.tif': _picture(form='TIFF'),
            'g.webp': _picture(form='WEBP'), 'h.gif': _picture('P', 'GIF')},
            lambda path: (readers.read_image(path), pictures.picture_size(path))),
        'read_label_map': Reader({'a.png': png, 'b.png': _picture('L')}, readers.read_label_map),
        'read_id_list': Reader({'a.txt': '2007_000032\nname with space\nü\n'.encode()}, readers.read_id_list),
        'read_tags': Reader({'a.json': b'{"a": ["cat", "dog"], "b": []}'}, readers.read_tags),
        'SBD masks': Reader({'a.mat': mat(GTcls={'Segmentation': _label(), 'Boundaries': np.zeros((20, 1))})},
                            read_sbd_mask),
        'SBD instances': Reader({'a.mat': mat(GTinst={'Segmentation': numbers, 'Categories': np.array([[3], [7]])})},
                                read_sbd_instances)}


def _coco_file(categories: Mapping[int, str]) -> dict[str, Any]:
    mask = encode_masks(_label()[None] == 1)[0]
    flags = dict(area=6, iscrowd=0)
    return dict(
        info=dict(year=2017), categories=[dict(id=i, name=name) for i, name in categories.items()],
        images=[dict(id=7, file_name='a.jpg', height=H, width=W), dict(id=9, file_name='b.png', height=H, width=W)],
        annotations=[
            dict(id=1, image_id=7, category_id=1, bbox=[2, 1, 3, 2.5], segmentation=mask, **flags),
            dict(id=2, image_id=7, category_id=2, bbox=[0, 0, 8, 6], segmentation=[[0, 0, 4, 0, 4, 4.5]], **flags),
            dict(id=3, image_id=9, category_id=2, bbox=[0, 0, 8, 6], area=9, iscrowd=1,
                 segmentation=dict(size=[H, W], counts=[40, 8]))])


def _coco(beside: Path) -> dict[str, Reader]:
    folder = beside / 'coco'
    folder.mkdir(parents=True)
    for name in ('a.jpg', 'b.png'):
        (folder / name).write_bytes(_picture(form='JPEG' if name.endswith('jpg') else 'PNG'))
    two = json.dumps(_coco_file({1: 'cat', 2: 'dog'})).encode()

    def dataset(path: Path) -> Any:
        found = CocoBoxDataset(str(path), data_prefix=dict(img_path=str(folder)), pipeline=[], test_mode=True)
        return [found.get_data_info(i) for i in range(len(found))]

    def scored(path: Path) -> Any:
        truth = read_truth(path)
        images = index(truth['images'], path, 'image')
        return [run_lengths_of(a, images[a['image_id']], path) for a in truth['annotations']]

    return {'CocoBoxDataset': Reader({'a.json': two}, dataset),
            'COCO 2014, 2017': Reader({'instances_val2017.json': json.dumps(_coco_file(CATEGORIES)).encode()},
                                      read_instances),
            'COCO truth': Reader({'a.json': two}, scored)}


def _maps() -> dict[str, np.ndarray]:
    return dict(class_ids=np.array([1, 2]), maps=np.linspace(0, 1, 2 * H * W, dtype=np.float32).reshape(2, H, W),
                size=np.array([H, W]))


def _saved(content: Any, **how: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, content, **how)
    return buffer.getvalue()


def _arrays() -> dict[str, Reader]:
    maps = _maps()
    own = ClassMaps('img', maps['class_ids'], maps['maps'], H, W, background=maps['maps'][0]).to_bytes()
    one = dict.fromkeys(('strides', 'positives', 'iou_used', 'iterations', 'loss_box', 'loss_cls'), np.ones(2))
    objects = ObjectMaps('img', H, W, (H, W), np.array([4, 5]), np.array([[0, 0, 4, 4], [1, 1, 5, 6]]),
                         np.array([1, 2]), [np.ones((2, 3), np.float32), np.zeros((1, 1), np.float32)], ['ok', 'tiny'],
                         **one).to_bytes()
    published = dict(keys=np.array([0, 1]), high_res=maps['maps'], cam=torch.from_numpy(maps['maps'][:, ::2, ::2]))
    of_psa = {0: maps['maps'][0], 1: maps['maps'][1]}
    sample = ImageSample('img', np.zeros((H, W, 3), np.uint8), np.zeros((0, 4), np.float32), np.zeros(0, np.int64),
                         np.array([1, 2]))
    plain = {'a': [1, (2.5, None)], 'b': maps['maps'], 'c': {'d', 'e'}, 'f': torch.arange(4.), 'g': np.float32(3)}

    def foreign(path: Path) -> Any:
        return [ForeignMaps(path.parent, CLASSES, normalize=how, missing='zeros', aspect='any').read(sample)
                for how in ('none', 'max', 'minmax')]

    return {
        'ClassMaps': Reader({'img.npz': own}, lambda path: _enlarged(ClassMaps.load(path))),
        'ObjectMaps': Reader({'img.npz': objects}, lambda path: _enlarged(ObjectMaps.load(path))),
        'maps made elsewhere': Reader({
            'img.npz': npz_bytes(maps), 'img.npy': _saved(published, allow_pickle=True),   # type: ignore[arg-type]
            'img.pkl': pickle.dumps(of_psa), 'img.png': label_png(_label(), [[0, 0, 0]]),
            'img_cat.png': _picture('L')}, foreign),
        'safe_pickle': Reader(
            {f'{p}.pkl': pickle.dumps(plain, p) for p in range(6)}, load_pickle),
        'safe_pickle, numpy': Reader({
            'a.npy': _saved(plain, allow_pickle=True), 'b.npy': _saved(maps['maps']),
            'c.npz': npz_bytes({'a': maps['maps'], 'b': np.array(plain, object)})},
            lambda path: load_npz(path) if path.suffix == '.npz' else load_npy(path))}


def _enlarged(found: ClassMaps | ObjectMaps) -> Any:
    """As their users do, who have compared the size with the image's."""
    if (found.height, found.width) != (H, W):
        return found
    return found.full_size() if isinstance(found, ClassMaps) else [found.full_size(i) for i in range(len(found))]


def _proposals() -> dict[str, Reader]:
    import h5py
    from scipy.io import savemat
    pixels = np.arange(H * W).reshape(H, W) // 4
    found = Proposals(pixels, np.array([0, 2, 5]), np.array([0, 1, 2, 3, 11]), np.array([.5, .25]))
    stack = found.masks([0, 1])
    labels = np.empty((2, 1), object)
    labels[0, 0], labels[1, 0] = np.array([[1., 2]]), np.array([[3., 4, 12]])
    mcg, of_masks, hdf5 = io.BytesIO(), io.BytesIO(), io.BytesIO()
    savemat(mcg, dict(superpixels=pixels + 1., labels=labels, scores=np.array([[.5], [.25]])))
    savemat(of_masks, dict(masks=stack.transpose(1, 2, 0).astype(np.uint8)), do_compression=True)
    with h5py.File(hdf5, 'w') as file:
        file['superpixels'] = pixels.T + 1.
        file['scores'] = np.array([[.5, .25]])
        cells = file.create_dataset('labels', (1, 2), h5py.ref_dtype)
        for i, row in enumerate(([1., 2], [3., 4, 12])):
            cells[0, i] = file.create_dataset(f'#refs#/{i}', data=np.array(row)[:, None]).ref
    records = [dict(image_id='img', segmentation=mask, score=.5) for mask in encode_masks(stack)]
    lists = dict(records[0], segmentation=dict(size=[H, W], counts=[40, 8]))
    image = np.zeros((H, W, 3), np.uint8)

    def proposals(path: Path) -> Any:
        one_file = path.suffix in ('.json', '.jsonl')
        made = MaskProposals(str(path if one_file else path.parent))('img', image)
        return made.areas, made.masks([0])

    return {'proposals, MCG': Reader({'img.mat': mcg.getvalue()}, proposals),
            'proposals, MCG masks': Reader({'img.mat': of_masks.getvalue()}, proposals),
            'proposals, MATLAB 7.3': Reader({'img.mat': hdf5.getvalue()}, proposals),
            'proposals, numpy': Reader({
                'img.npz': found.to_bytes(), 'img.npy': _saved(stack)}, proposals),
            'proposals, packed': Reader({'img.npz': npz_bytes(dict(
                packed=np.packbits(stack.reshape(2, -1), 1), shape=np.array([H, W]), scores=np.ones(2)))}, proposals),
            'proposals, COCO': Reader({
                'img.json': json.dumps([*records, lists]).encode(),
                'img.jsonl': b'\n'.join(json.dumps(record).encode() for record in records)}, proposals)}


def _checkpoints() -> dict[str, Reader]:
    content = dict(state_dict=dict(weight=torch.arange(6.).reshape(2, 3), bias=torch.zeros(2, dtype=torch.half)),
                   meta=dict(epoch=1, iter=3, dataset_meta=dict(classes=CLASSES)),
                   message_hub=dict(log_scalars=dict(loss=HistoryBuffer([1., 2], [1, 1]))))
    new, old = io.BytesIO(), io.BytesIO()
    torch.save(content, new)
    torch.save(content['state_dict'], old, _use_new_zipfile_serialization=False)
    values = np.arange(6, dtype='<f4')
    array = struct.pack('<IiI2q3i', 0xF993FAC9, 0, 2, 2, 3, 1, 0, 0) + values.tobytes()
    mxnet = struct.pack('<QQQ', 0x112, 0, 1) + array + struct.pack('<QQ', 1, 5) + b'arg:w'
    return {'checkpoint': Reader({'a.pth': new.getvalue(), 'b.pth': old.getvalue()}, load_checkpoint_file),
            'MXNet parameters': Reader({'a.params': mxnet}, read_mxnet_params)}


def _own_data(beside: Path) -> dict[str, Reader]:
    folder = beside / 'pictures'
    (folder / 'sub').mkdir(parents=True)
    (folder / 'a.jpg').write_bytes(_picture(form='JPEG'))
    (folder / 'sub/b.png').write_bytes(_picture())
    known = pictures.Pictures(folder, problems.Problems(beside / 'problems.txt'))

    def notes() -> problems.Problems:
        return problems.Problems(beside / 'problems.txt')

    def quiet(_: str) -> None:
        return

    def own_boxes(path: Path) -> Any:
        one_file = path.suffix in ('.csv', '.json')
        return boxes.read_own_boxes(path if one_file else path.parent, known, notes(), ('cat', 'dog'), say=quiet)

    def own_masks(path: Path) -> Any:
        found = [masks.MaskReader(path.parent, meaning, ('cat', 'dog')) for meaning in (
            {1: 'cat', 2: 'dog'}, {'#c00000': 'cat', '#00c000': 'dog'})]
        return [reader.read(p, notes()) for reader in found for p in reader.find(known, notes()).values()]

    coco = _coco_file({1: 'cat', 2: 'dog'})
    coco['annotations'][2]['category_id'] = 1
    return {
        'own tags, CSV': Reader({'a.csv': b'file,tags\na.jpg,cat;dog\n"sub/b.png","cat, dog"\n',
                                 'b.csv': b'picture;cat;dog\r\na.jpg;1;0\r\nb.png;0;1\r\n'},
                                lambda path: tags.read_own_tags(path, known, notes(), quiet)),
        'own tags, JSON': Reader({'a.json': b'{"a.jpg": ["cat", "dog"], "b": "cat"}',
                                  'b.json': b'[{"file": "a.jpg", "tags": ["cat"]}, {"file": "b.png", "tags": []}]'},
                                 lambda path: tags.read_own_tags(path, known, notes(), quiet)),
        'own boxes, CSV': Reader({'a.csv': b'file,class,x1,y1,x2,y2\na.jpg,cat,1,2,4,5.5\nb.png,,,,,\n',
                                  'b.csv': b'file\tlabel\tx\ty\tw\th\nsub/b\tdog\t1\t1\t3\t3\n'}, own_boxes),
        'own boxes, COCO': Reader({'a.json': json.dumps(coco).encode()}, own_boxes),
        'own boxes, XML': Reader({'a.xml': XML}, own_boxes),
        'own boxes, YOLO': Reader({'a.txt': b'0 .5 .5 .25 .5\n1 0.2 0.3 0.1 0.1 0.9\n'}, own_boxes),
        'own class names': Reader({'a.yaml': b'names:\n  0: cat\n  1: dog\n', 'b.yml': b'nc: 2\nnames: [cat, "dog"]\n',
                                   'c.txt': b'cat\ndog\n'}, boxes.read_class_names),
        'own masks': Reader({'a.png': label_png(_label(), [[0, 0, 0], [192, 0, 0], [0, 192, 0]]),
                             'b.png': _picture()}, own_masks)}


def _runs(beside: Path) -> dict[str, Reader]:
    made = beside / 'run'
    made.mkdir()
    (made / 'a.png').write_bytes(label_png(_label(), [[0, 0, 0]]))
    line = dict(id='a', files={'labels/a.png': file_sha256(made / 'a.png')}, notes=[])
    description = dict(hash='0123456789abcdef', settings=dict(pseudo_labels=dict(generator='CAM')), complete=True)
    ids = ['a', 'b', 'c']
    seeds = {
        'run.json': json.dumps(description | dict(files={'instances.json': 'ab12'})).encode(),
        'manifest.jsonl': json.dumps(line).encode() + b'\n',
        'failures.json': b'{"b": "no such image"}',
        'sharing/0a1b2c3d.jsonl': json.dumps(line | dict(id='c')).encode() + b'\n{"id": "b", "failed": "no image"}\n',
        'sharing/0a1b2c3d.alive': json.dumps(whereabouts()).encode() + b'\n..',
        'labels/a.png': (made / 'a.png').read_bytes()}

    def run(path: Path) -> Any:
        root = path if path.name == 'tried' else next(p for p in path.parents if p.name == 'tried')
        folder = RunFolder(root, description)
        state = folder.begin(ids), folder.done(), sorted(folder.failures)
        return state, [(r['id'], sorted(r['files'])) for r in read_manifest(root / 'manifest.jsonl')]

    shutil.rmtree(made)
    return {'run folder': Reader(seeds, run, together=True),
            'read_json': Reader({'a.json': seeds['run.json']}, read_json)}


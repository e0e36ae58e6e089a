# Class maps made elsewhere, for PASCAL VOC 2012 train_aug: checked, and saved as those of a classifier are. Any format
# of docs/importing.md; the tags are those of VOC's XML files. The folder is a placeholder:
# python tools/generate.py configs/imported/maps_voc.py --cfg-options pseudo_labels.generator.map_dir=my_maps
_base_ = ['../_base_/voc12_tags.py', '../_base_/default_runtime.py']
prerequisites = [{{_base_.voc_data}}]
pseudo_labels = dict(
    out_dir='work_dirs/voc/imported/labels',
    num_workers=8,
    dataset=dict(
        type='wsss_mm.WeakVOCDataset', data_root={{_base_.data_root}}, test_mode=True, pipeline={{_base_.tag_pipeline}},
        ann_file='ImageSets/Segmentation/trainaug.txt'),
    generator=dict(
        type='wsss_mm.ImportedMaps', map_dir='data/imported_maps', classes='wsss_mm.WeakVOCDataset', format='auto',
        normalize='none'))   # maps are in [0, 1]; 'max' or 'minmax' for others

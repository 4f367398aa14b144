import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from e2mc.config.experiment import Images
from e2mc.config.fits import LinearFit
from e2mc.config.methods import Backbone, VICReg
from e2mc.config.settings import Crops, DataSetSettings, ExtractSettings, ImageNetSettings
from e2mc.data.evaluation_views import evaluation_batches
from e2mc.data.image_set import open_images
from e2mc.data.imagenet import open_imagenet
from e2mc.data.sampling import epoch_batches
from e2mc.errors import E2MCError
from e2mc.evaluation import features as extraction
from e2mc.evaluation import shards
from e2mc.evaluation.feature_files import open_features, open_pair
from e2mc.evaluation.features import extract
from e2mc.evaluation.probe import Head, fit_heads
from e2mc.methods import build_method
from e2mc.models import ResNet, quarter_pool, save_model

BACKBONE = Backbone(layers=(1, 1, 1, 1), width=2, stem="cifar", block="basic")
DIM = BACKBONE.feature_dimension
RECIPE = VICReg(projector=(8, 8, 6))
VIEWS = 3


def draw(path, rng, level):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.clip(rng.normal(level, 40, size=(20, 20, 3)), 0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(path, format="PNG")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A few images in the three layouts, and a model."""
    root = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    for split, count in (("train", 7), ("val", 3)):
        for label, name in enumerate(("n01", "n02")):
            for i in range(count):
                draw(root / f"imagenet/{split}/{name}/{name}_{i}.JPEG", rng, 60 + 120 * label)
    categories = [{"id": 4, "name": "a"}, {"id": 9, "name": "b"}]
    for split, count in (("train", 6), ("val", 4)):
        images = [{"id": i, "file_name": f"train_val2018/x/{split}{i}.jpg"} for i in range(count)]
        notes = [{"id": i, "image_id": i, "category_id": (4, 9)[i % 2]} for i in range(count)]
        for image in images:
            draw(root / "inat18" / image["file_name"], rng, 100)
        content = {"images": images, "annotations": notes, "categories": categories}
        (root / "inat18" / f"{split}2018.json").write_text(json.dumps(content))
    main = root / "VOC2007/ImageSets/Main"
    main.mkdir(parents=True)
    (root / "VOC2007/Annotations").mkdir()
    for split, count in (("trainval", 4), ("test", 3)):
        for name in ("bus", "cat"):
            lines = [f"{split}{i} {(1, -1, 0)[i % 3]}\n" for i in range(count)]
            (main / f"{name}_{split}.txt").write_text("".join(lines))
        for i in range(count):
            draw(root / f"VOC2007/JPEGImages/{split}{i}.jpg", rng, 100)
    torch.manual_seed(0)
    method = build_method(RECIPE, BACKBONE)
    for module in method.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
    save_model(method.state_dict(), root / "model.safetensors", {})
    return root, method.eval()


def imagenet(root, views=VIEWS):
    data = ImageNetSettings(root=root / "imagenet", lists={}, validation_fraction=None)
    return {"imagenet": DataSetSettings(data=data, train=Crops(views=views), test=Crops())}


def inat18(root, views, *kinds):
    train = Crops(views=views, fixed=None)
    found = DataSetSettings(data=root / "inat18", train=train, test=Crops(), kinds=kinds)
    return {"inat18": found}


def settings(root, **changes):
    content = {
        "recipe": RECIPE,
        "backbone": BACKBONE,
        "images": Images(size=12, evaluation_resize=14),
        "datasets": imagenet(root),
        "normalization_std": (0.228, 0.224, 0.225),
        "pipeline": "tensor",
        "precision": "float32",
        "flip_probability": 0.5,
        "batch_size": 5,
        "embedding_samples": 4,
        "workers": 0,
        "seed": 11,
    }
    return ExtractSettings(**{**content, **changes})


def images_of(chosen, images, crop, view=0):
    options = (chosen.images, crop, chosen.normalization_std, chosen.pipeline, len(images))
    (batch,) = evaluation_batches(
        images, *options, seed=chosen.seed, view=view, flip_probability=chosen.flip_probability
    )
    return batch


def bytes_of(folder: Path):
    return {
        str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("shard-*.npy")
    }


@torch.no_grad()
def test_views_and_centre_crops_of_the_trunk(data, tmp_path):
    root, method = data
    chosen = settings(root)
    extract(chosen, root / "model.safetensors", tmp_path, tmp_path / "embeddings.npy")
    train, test = open_pair(*(tmp_path / f"imagenet-{s}/index.json" for s in ("train", "test")))
    images = open_imagenet(chosen.datasets["imagenet"].data, "train")
    assert train.names == images.names
    assert (train.views, train.dim, len(train.names)) == (VIEWS, DIM, 14)
    np.testing.assert_array_equal(train.labels, images.labels)
    for view in range(VIEWS):
        expected = method.backbone(images_of(chosen, images, "random", view))
        np.testing.assert_allclose(train.view(view), expected, rtol=2e-3, atol=1e-3)
    assert np.abs(train.view(0).astype(float) - train.view(1)).max() > 0.05
    expected = method.backbone(images_of(chosen, images, "center"))
    np.testing.assert_allclose(train.whole(), expected, rtol=2e-3, atol=1e-3)
    centre = images_of(chosen, open_imagenet(chosen.datasets["imagenet"].data, "test"), "center")
    np.testing.assert_allclose(test.whole(), method.backbone(centre), rtol=2e-3, atol=1e-3)
    embeddings = np.load(tmp_path / "embeddings.npy")
    assert embeddings.dtype == np.float16
    np.testing.assert_allclose(embeddings, method.embed(centre[:4]), rtol=2e-3, atol=1e-3)


@torch.no_grad()
def test_maps_and_pooled_features_from_one_pass(data, tmp_path, monkeypatch):
    root, method = data
    passes = []
    original = ResNet.feature_map
    monkeypatch.setattr(
        ResNet,
        "feature_map",
        lambda self, x: (passes.append(len(x)), original(self, x))[1],
    )
    chosen = settings(root, datasets=inat18(root, 2, "quarters", "pooled"), batch_size=10)
    extract(chosen, root / "model.safetensors", tmp_path)
    assert sum(passes) == 2 * 6 + 4
    maps = open_features(tmp_path / "inat18-test/index.json")
    pooled = open_features(tmp_path / "inat18-test-pooled/index.json")
    assert (maps.kind, maps.dim, pooled.kind, pooled.dim) == ("quarters", 4 * DIM, "pooled", DIM)
    images = open_images("inat18", root / "inat18", "test")
    expected = quarter_pool(method.backbone.feature_map(images_of(chosen, images, "center")))
    found = maps.whole().reshape(4, DIM, 2, 2)
    np.testing.assert_allclose(found, expected, rtol=2e-3, atol=1e-3)
    # 12-pixel images leave a 2 x 2 map, whose mean is the pooled feature.
    np.testing.assert_allclose(found.mean((2, 3)), pooled.whole(), rtol=4e-3, atol=2e-3)


@torch.no_grad()
@pytest.mark.parametrize("crop", ["squash", "center"])
def test_voc(data, tmp_path, crop):
    root, method = data
    crops = Crops(fixed=crop)
    own = (0.229, 0.224, 0.225)
    seen = DataSetSettings(data=root / "VOC2007", train=crops, test=crops, normalization_std=own)
    given = settings(root, datasets={"voc07": seen}, normalization_std=(0.5, 0.5, 0.5))
    chosen = given.model_copy(update={"normalization_std": own})
    extract(given, root / "model.safetensors", tmp_path)
    train, _ = open_pair(*(tmp_path / f"voc07-{s}/index.json" for s in ("train", "test")))
    assert train.crops == (crop,)
    images = open_images("voc07", root / "VOC2007", "train")
    np.testing.assert_array_equal(train.labels, images.labels)
    expected = method.backbone(images_of(chosen, images, crop))
    np.testing.assert_allclose(train.whole(), expected, rtol=2e-3, atol=1e-3)


@pytest.fixture
def small_shards(monkeypatch):
    """Three samples in a shard of the training split."""
    monkeypatch.setattr(extraction, "SHARD_BYTES", 2 * (VIEWS + 1) * DIM * 3)


def test_an_interrupted_extraction_goes_on_at_the_missing_shards(
    data, tmp_path, monkeypatch, small_shards
):
    root, _ = data
    chosen, model = settings(root), root / "model.safetensors"
    extract(chosen, model, tmp_path / "whole")
    whole = bytes_of(tmp_path / "whole")
    assert len(open_features(tmp_path / "whole/imagenet-train/index.json").shards) == 5

    made, original = [], extraction.compute

    def fails_at_the_third(*arguments):
        made.append(1)
        if len(made) == 3:
            raise KeyboardInterrupt
        return original(*arguments)

    monkeypatch.setattr(extraction, "compute", fails_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        extract(chosen, model, tmp_path / "cut")
    assert not (tmp_path / "cut/imagenet-train").exists()
    damaged = tmp_path / "cut/.imagenet-train/shard-0001.npy"
    content = bytearray(damaged.read_bytes())
    content[-1] ^= 1
    damaged.write_bytes(bytes(content))
    made.clear()

    def counted(*arguments):
        made.append((arguments[4], [rows.tolist() for rows in arguments[3]]))
        return original(*arguments)

    monkeypatch.setattr(extraction, "compute", counted)
    extract(chosen, model, tmp_path / "cut")
    train = [batches for views, batches in made if views == VIEWS + 1]
    rest = [[[3, 4, 5]], [[6, 7, 8]], [[9, 10, 11]], [[12, 13]]]
    assert train == rest, "the finished shard is kept"
    assert bytes_of(tmp_path / "cut") == whole
    assert not list((tmp_path / "cut").glob(".*")), "nothing unfinished is left"
    made.clear()
    extract(chosen, model, tmp_path / "cut")
    assert not made


def test_other_settings_replace_every_shard(data, tmp_path, small_shards):
    root, _ = data
    model = root / "model.safetensors"
    extract(settings(root), model, tmp_path / "a")
    before = bytes_of(tmp_path / "a")
    extract(settings(root, seed=12, datasets=imagenet(root, 1)), model, tmp_path / "a")
    extract(settings(root, seed=12, datasets=imagenet(root, 1)), model, tmp_path / "b")
    assert bytes_of(tmp_path / "a") == bytes_of(tmp_path / "b") != before
    open_features(tmp_path / "a/imagenet-train/index.json", verify=True)


def test_features_that_were_damaged_or_half_deleted_are_made_again(data, tmp_path, small_shards):
    root, _ = data
    model = root / "model.safetensors"
    extract(settings(root), model, tmp_path)
    whole = bytes_of(tmp_path)
    (tmp_path / "imagenet-train/shard-0002.npy").unlink()
    damaged = tmp_path / "imagenet-test/shard-0000.npy"
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"x")
    extract(settings(root), model, tmp_path)
    assert bytes_of(tmp_path) == whole


@pytest.mark.parametrize(("precision", "error"), [("bfloat16", 2e-2), ("float16", 3e-3)])
def test_half_precision_changes_features_by_its_rounding(data, tmp_path, precision, error):
    root, _ = data
    for name in ("float32", precision):
        chosen = settings(root, precision=name)
        extract(chosen, root / "model.safetensors", tmp_path / name, tmp_path / f"{name}.npy")
    exact, half = (
        open_features(tmp_path / name / "imagenet-train/index.json").view(0).astype(np.float32)
        for name in ("float32", precision)
    )
    assert 0 < np.linalg.norm(half - exact) < error * np.linalg.norm(exact)
    assert open_features(tmp_path / precision / "imagenet-train/index.json").source != (
        open_features(tmp_path / "float32/imagenet-train/index.json").source
    ), "features of another precision are other features"


def test_processes_share_the_shards(data, tmp_path, monkeypatch, small_shards):
    root, _ = data
    chosen, model = settings(root), root / "model.safetensors"
    extract(chosen, model, tmp_path / "alone")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    extract(chosen, model, tmp_path / "shared")
    assert not (tmp_path / "shared/imagenet-train").exists()
    numbers = sorted(p.stem for p in (tmp_path / "shared/.imagenet-train").glob("*.npy"))
    assert numbers == ["shard-0001", "shard-0003"]
    monkeypatch.setenv("RANK", "0")
    extract(chosen, model, tmp_path / "shared")
    assert bytes_of(tmp_path / "shared") == bytes_of(tmp_path / "alone")
    open_features(tmp_path / "shared/imagenet-train/index.json", verify=True)


def test_a_process_that_stopped_is_reported(tmp_path):
    shards.write_shard(shards.shard_path(tmp_path, 0), np.zeros((1, 3, 2), np.float16), "s")
    with pytest.raises(E2MCError, match=r"1 of 2 shards did not come \(first: number 1\)"):
        shards.collect_shards(tmp_path, [(0, 3), (3, 6)], "s", patience=0)


def test_features_that_float16_cannot_hold_are_refused(data, tmp_path):
    root, _ = data
    method = build_method(RECIPE, BACKBONE)
    method.backbone.layer4[-1].bn2.bias.data += 1e6
    save_model(method.state_dict(), tmp_path / "model.safetensors", {})
    with pytest.raises(E2MCError, match=r"features of train/n01/n01_0.JPEG are NaN or beyond"):
        extract(settings(root), tmp_path / "model.safetensors", tmp_path / "out")
    assert not bytes_of(tmp_path / "out")


def test_a_model_that_does_not_fit_is_refused(data, tmp_path):
    root, _ = data
    wider = settings(root, backbone=BACKBONE.model_copy(update={"width": 3}))
    with pytest.raises(E2MCError, match=r"\(backbone\) does not fit the model"):
        extract(wider, root / "model.safetensors", tmp_path)


def online_loop(chosen, method, recipe, seed):
    """The official protocol: the trunk sees a fresh view in every epoch."""
    images = open_imagenet(chosen.datasets["imagenet"].data, "train")
    head = torch.nn.Linear(DIM, 2).double()
    generator = torch.Generator().manual_seed(seed)
    weight = torch.empty(2, DIM, dtype=torch.float32).normal_(0, 0.01, generator=generator)
    head.weight.data.copy_(weight)
    head.bias.data.zero_()
    optimizer = torch.optim.SGD(
        head.parameters(), recipe.learning_rate, 0.9, weight_decay=recipe.weight_decay
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, recipe.epochs)
    for epoch in range(recipe.epochs):
        batch = images_of(chosen, images, "random", view=epoch)
        for rows in epoch_batches(np.arange(len(images)), recipe.batch_size, seed, epoch):
            with torch.no_grad():
                x = method.backbone(batch[rows]).double()
            labels = torch.from_numpy(images.labels[rows])
            loss = torch.nn.functional.cross_entropy(head(x), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        schedule.step()
    return head.weight.detach().numpy()


def test_as_many_views_as_epochs_is_the_online_protocol(data, tmp_path):
    root, method = data
    epochs = 4
    chosen = settings(root, datasets=imagenet(root, epochs))
    extract(chosen, root / "model.safetensors", tmp_path)
    train, test = open_pair(*(tmp_path / f"imagenet-{s}/index.json" for s in ("train", "test")))
    recipe = LinearFit(learning_rate=0.05, weight_decay=1e-3, batch_size=4, epochs=epochs)

    def fitted(views):
        head = Head(recipe, 5)
        cached = train.view, views, train.labels, test.whole(), test.labels, 2, [head]
        return fit_heads(*cached)[0].weight

    online = online_loop(chosen, method, recipe, 5)
    # What is left is float16 rounding of the features, 2^-11 of their size.
    np.testing.assert_allclose(fitted(epochs), online, atol=1e-3 * np.abs(online).max())
    assert np.abs(fitted(2) - online).max() > 1e-2 * np.abs(online).max()


def test_the_cost_is_that_of_all_shards_whoever_made_them(data, tmp_path, monkeypatch):
    root, _ = data
    chosen = settings(root, datasets=imagenet(root) | inat18(root, 1, "quarters", "pooled"))
    monkeypatch.setattr(extraction, "SHARD_BYTES", 2 * VIEWS * DIM * 5)
    extract(chosen, root / "model.safetensors", tmp_path)
    seconds, expected = 0.0, {}
    for name in ("imagenet-train", "imagenet-test", "inat18-train", "inat18-test"):
        for number, path in enumerate(sorted(tmp_path.glob(f"{name}*/shard-*.json"))):
            receipt = json.loads(path.read_text()) | {"seconds": 100.0 + number}
            path.write_text(json.dumps(receipt))
            pooled = "pooled" in path.parent.name
            seconds += 0 if pooled else receipt["seconds"]
        expected[name] = seconds
        for folder in tmp_path.glob(f"{name}*/"):
            folder.rename(folder.with_name(f".{folder.name}"))  # as before the last step
    extract(chosen, root / "model.safetensors", tmp_path)
    found = {
        name: json.loads((tmp_path / f"{name}.json").read_text())["cost"]["seconds"]
        for name in expected
    }
    assert found == expected


def test_embeddings_need_imagenet(data, tmp_path):
    root, _ = data
    chosen = settings(root, datasets=inat18(root, 1, "quarters"))
    with pytest.raises(E2MCError, match="extract imagenet as well"):
        extract(chosen, root / "model.safetensors", tmp_path, tmp_path / "embeddings.npy")
    assert not list(tmp_path.iterdir())

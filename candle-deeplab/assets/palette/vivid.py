"""Computes the tables of `src/labels/vivid.rs`. Needs numpy and colorspacious 1.1; takes a few minutes.

Colours are chosen as Glasbey et al. do ("Colour displays for categorical images", 2007): each is as far as possible from
all others, here in CAM02-UCS. The distance of two colours is the least of what normal, deuteranopic and protanopic eyes
see (Machado et al. 2009), where these two count a third more, since no twenty colours can be as far apart for them. The
first twenty are moved until none can be better; the others follow one by one.

Classes of known data sets get colours such that those that are often seen together are far apart.
"""

import itertools
import re
from pathlib import Path

import numpy as np
from colorspacious import cspace_convert

FIRST, ALL = 20, 255
# How much a wish counts against all repulsion of a class.
WISH = 0.004
rng = np.random.default_rng(0)


def seen(rgb, deficiency=None):
    rgb = rgb / 255
    if deficiency:
        kind = {"name": "sRGB1+CVD", "cvd_type": deficiency, "severity": 100}
        rgb = np.clip(cspace_convert(rgb, kind, "sRGB1"), 0, 1)
    return cspace_convert(rgb, "sRGB1", "CAM02-UCS")


steps = [0, 12, 24, 36, 48, 60, 72, 84, 96, 108, 120, 132, 144, 156, 168, 180, 192, 204, 216, 228, 240, 255]
colors = np.array(list(itertools.product(steps, repeat=3)))
lightness, a, b = seen(colors).T
value, least = colors.max(1) / 255, colors.min(1) / 255
saturation = 1 - least / value.clip(1e-6)
# Neither so dark nor so pale that the class could be taken for the photograph.
vivid = (lightness > 46) & (lightness < 93) & (saturation > 0.55) & (value > 0.72) & (np.hypot(a, b) > 26)
colors = colors[vivid]
views = [seen(colors), seen(colors, "deuteranomaly"), seen(colors, "protanomaly")]
# Of colours that are about as far from all others the more colourful one is taken.
taste = np.hypot(views[0][:, 1], views[0][:, 2]) ** 0.3


def distances(i):
    normal, *others = [np.linalg.norm(view - view[i], axis=1) for view in views]
    return np.minimum(normal, 4 / 3 * np.minimum(*others))


def add(chosen, count):
    nearest = np.min([distances(i) for i in chosen], axis=0)
    while len(chosen) < count:
        chosen.append(int((taste * nearest).argmax()))
        nearest = np.minimum(nearest, distances(chosen[-1]))
    return chosen


def between(chosen):
    table = np.array([distances(i)[chosen] for i in chosen])
    np.fill_diagonal(table, np.inf)
    return table


def improve(chosen):
    while True:
        before = list(chosen)
        for k in np.argsort(between(chosen).min(1)):
            rest = [c for j, c in enumerate(chosen) if j != k]
            chosen[k] = int((taste * np.min([distances(i) for i in rest], axis=0)).argmax())
        if chosen == before or between(chosen).min() <= between(before).min():
            return before


best = max((improve(add([int(rng.integers(len(colors)))], FIRST)) for _ in range(40)), key=lambda c: between(c).min())
# The farthest first, from a blue that stands out from skin, plants and earth alike.
blue = best[int(np.linalg.norm(seen(colors[best]) - seen(np.array([[40, 120, 255]])), axis=1).argmin())]
order = [blue]
while len(order) < FIRST:
    left = [c for c in best if c not in order]
    order.append(max(left, key=lambda c: min(distances(c)[o] for o in order)))
order = add(order, ALL)
table = colors[order]


def assign(weights, wished, count):
    """The colour of each class: pairs repel by their weight; wishes draw a class to a colour. Simulated annealing."""
    n = len(weights)
    # Over a photograph lightness says less than hue.
    view = seen(table[:count]) * [0.6, 1, 1]
    squared = ((view[:, None] - view[None]) ** 2).sum(-1)
    near = np.where(squared > 0, 100 / squared.clip(1e-9) ** 1.5, 0)
    wanted = np.zeros((n, count))
    for k, color in wished.items():
        away = np.linalg.norm(seen(table[:count]) - seen(np.array([color])), axis=1)
        wanted[k] = WISH * (away / 30) ** 2 * weights[k].sum()
    weights = np.pad(weights * (1 - np.eye(n)), (0, count - n))
    wanted = np.pad(wanted, ((0, count - n), (0, 0)))

    def row(i):
        return (weights[i] * near[slots[i], slots]).sum() + wanted[i, slots[i]]

    best = None
    for seed in range(3):
        rng = np.random.default_rng(seed)
        slots = np.arange(count)
        start = np.mean([row(i) for i in range(n)])
        rounds = 300_000 if n > 30 else 60_000
        for step in range(rounds):
            heat = 0.3 * start * (1 - step / rounds) ** 4 + 1e-12
            i = rng.integers(n)
            j = min(int(rng.exponential(count / 3)), count - 1)
            if i == j:
                continue
            before = row(i) + row(j)
            slots[[i, j]] = slots[[j, i]]
            rise = row(i) + row(j) - before
            if rise > 0 and rng.random() > np.exp(-rise / heat):
                slots[[i, j]] = slots[[j, i]]
        cost = sum(row(i) for i in range(n))
        if best is None or cost < best[0]:
            best = cost, slots[:n].copy()
    return best[1]


def together(names, base, *groups):
    """Weights of all pairs: a base, and of the pairs in each group its own weight more."""
    weights = np.full((len(names), len(names)), float(base))
    for weight, group in groups:
        members = ids(names, group)
        weights[np.ix_(members, members)] += weight
    return weights


def ids(names, group):
    return [names.index(name) for name in group.split(", ")]


def wishes(names, wanted):
    return {i: color for group, color in wanted.items() for i in ids(names, group)}


# What is together in a photograph, then what is taken for one another.
VOC = (
    "aeroplane, bicycle, bird, boat, bottle, bus, car, cat, chair, cow, diningtable, dog, horse, motorbike, person, "
    "pottedplant, sheep, sofa, train, tvmonitor"
).split(", ")
VOC_WEIGHTS = together(
    VOC, 0.3,
    (3, "bottle, chair, diningtable, pottedplant, sofa, tvmonitor"), (1, "sofa, chair, cat, dog"),
    (2, "bicycle, bus, car, motorbike, train"), (1, "bird, cat, cow, dog, horse, sheep"), (1, "aeroplane, bird, boat"),
    (3, "cat, dog"), (3, "cow, horse, sheep"), (2, "bus, car, train"), (2, "chair, sofa"), (3, "bicycle, motorbike"),
)
PERSON = VOC.index("person")
VOC_WEIGHTS[PERSON] += 4
VOC_WEIGHTS[:, PERSON] += 4
# Far from skin.
VOC_WISHES = {"person": [20, 110, 255]}

CITY = (
    "road, sidewalk, building, wall, fence, pole, traffic light, traffic sign, vegetation, terrain, sky, person, rider, "
    "car, truck, bus, train, motorcycle, bicycle"
).split(", ")
CITY_WEIGHTS = together(
    CITY, 1,
    (1, "road, sidewalk, building, vegetation, sky, car"), (4, "road, sidewalk"), (3, "road, car"),
    (3, "building, vegetation"), (3, "building, sky"), (3, "vegetation, sky"), (3, "vegetation, terrain"),
    (2, "sidewalk, terrain"), (2, "sidewalk, person"), (3, "person, rider"), (3, "rider, bicycle"),
    (2, "rider, motorcycle, bicycle"), (2, "car, truck, bus, train"), (2, "pole, traffic light, traffic sign"),
    (2, "building, wall, fence"),
)
# Those who know Cityscapes' colours find some again.
CITY_WISHES = {
    "road": [150, 90, 200], "sidewalk": [244, 80, 210], "vegetation": [40, 150, 60], "terrain": [170, 240, 90],
    "sky": [110, 190, 255], "person": [230, 30, 60], "car": [40, 70, 255],
}

# Ordered by how many pixels they have. Those of a street are rarely in a room.
ADE = re.findall(r'\("([^"]+)", \[', (Path(__file__).parents[2] / "src/labels/ade20k.rs").read_text())
OUTDOORS = (
    "building, sky, tree, road, grass, sidewalk, earth, mountain, car, water, house, sea, field, rock, sand, skyscraper, "
    "grandstand, path, runway, river, bridge, hill, palm, boat, hovel, bus, truck, tower, awning, streetlight, airplane, "
    "dirt track, pole, land, van, ship, canopy, swimming pool, waterfall, tent, minibike, tank, animal, bicycle, lake, "
    "traffic light, pier"
)
EVERYWHERE = (
    "wall, person, door, plant, windowpane, chair, table, fence, stairs, stairway, bench, light, signboard, pot, "
    "sculpture, fountain, flag, ceiling, flower, railing, base, column, poster, bottle, booth, bannister, escalator, "
    "stage, bag, box, ball, trade name, step"
)
outdoors, everywhere = [np.isin(np.arange(150), ids(ADE, group)) for group in (OUTDOORS, EVERYWHERE)]
common = (outdoors[:, None] == outdoors[None]) | everywhere[:, None] | everywhere[None]
frequency = 1 / (8 + np.arange(150)) ** 0.7
ADE_WEIGHTS = np.where(common, 1, 0.1) * frequency[:, None] * frequency[None]
for group in (
    "wall, floor, ceiling, bed, windowpane, cabinet, curtain, door, table, sofa, chair, painting, shelf, rug, person",
    "building, sky, tree, road, sidewalk, car, person, grass, earth, plant, mountain, water, fence",
    "wall, floor, ceiling, windowpane, door, curtain",
    "building, sky, tree, road, sidewalk, grass",
):
    ADE_WEIGHTS[np.ix_(ids(ADE, group), ids(ADE, group))] *= 3
ADE_WISHES = {
    "sky": [110, 200, 255], "tree": [30, 150, 60], "grass": [150, 220, 60], "plant, flower, palm": [60, 180, 60],
    "field": [180, 220, 80], "water, sea, river, lake": [20, 110, 200], "earth, land": [190, 130, 60],
    "sand": [240, 210, 120],
}

if __name__ == "__main__":
    print("COLORS", ", ".join(f"0x{r:02x}{g:02x}{b:02x}" for r, g, b in table))
    for set, names, weights, wanted, count in [
        ("VOC", VOC, VOC_WEIGHTS, VOC_WISHES, FIRST),
        ("CITYSCAPES", CITY, CITY_WEIGHTS, CITY_WISHES, FIRST),
        ("ADE20K", ADE, ADE_WEIGHTS, ADE_WISHES, ALL),
    ]:
        print(set, ", ".join(map(str, assign(weights, wishes(names, wanted), count))))

"""Step: build the images that are missing. They are cached by content and shared by all clones."""

from __future__ import annotations

from vmtemplates import find_built, load_templates

from .steps import Done, Plan

#: `tiny` is what hosts are probed with; `vplc` is what the example runs on.
WANTED = ("tiny", "vplc")


def build(plan: Plan) -> Done:
    """Have the images."""
    from millwright.cli.nouns.templates import build_one

    templates = load_templates()
    cache = plan.settings.cache_dir / "images"
    changes = []
    for name in WANTED:
        image = find_built(templates[name], cache)
        if image is None:
            plan.say(f"{name}: is being built, this is done once")
            image = build_one(templates[name], plan.say)
            changes.append(f"built {image.name}")
        plan.images[name] = (templates[name], image)
    return Done.of(changes)

# A plate with a hole, made and saved by FreeCAD; its volume goes to the file named in MW_OUT.
import json
import math
import os
from pathlib import Path

import FreeCAD
import Part

document = FreeCAD.newDocument("check")
plate = document.addObject("Part::Box", "Plate")
plate.Length, plate.Width, plate.Height = 100, 50, 10
drill = document.addObject("Part::Cylinder", "Drill")
drill.Radius, drill.Height = 8, 10
drill.Placement.Base = FreeCAD.Vector(50, 25, 0)
cut = document.addObject("Part::Cut", "Part")
cut.Base, cut.Tool = plate, drill
document.recompute()
folder = Path(os.environ["MW_OUT"])
document.saveAs(str(folder / "part.FCStd"))
cut.Shape.exportStep(str(folder / "part.step"))
again = Part.read(str(folder / "part.step"))
answer = {
    "volume": again.Volume,
    "by_hand": 100 * 50 * 10 - math.pi * 8**2 * 10,
    "version": ".".join(FreeCAD.Version()[:3]),
}
(folder / "answer.json").write_text(json.dumps(answer), encoding="utf-8")

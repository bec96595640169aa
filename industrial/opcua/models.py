"""Types of three information models that clients know: DI, PLCopen's IEC 61131-3 and Machinery's identification.

The tables name what is offered of each, with the node ids of the published models (OPC 10000-100, OPC 30000 and
OPC 40001-1). Optional members that a vPLC never has (locks, images, documents) are left out: each namespace says
`IsNamespaceSubset`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from asyncua import Server, ua

#: Namespace by the letters with which the tables name it.
NAMESPACES = {
    "DI": "http://opcfoundation.org/UA/DI/",
    "PLC": "http://PLCopen.org/OpcUa/IEC61131-3/",
    "M": "http://opcfoundation.org/UA/Machinery/",
}
#: Edition of each model that the tables follow: version and day of publication.
_EDITIONS = {"DI": ("1.05.0", 2025, 11, 15), "PLC": ("1.00", 2010, 3, 24), "M": ("1.04.1", 2026, 1, 1)}  # fmt: skip
_METADATA = {"DI": 15001, "PLC": 15001, "M": 5001}
#: States of DeviceHealth, as the enumeration counts them.
HEALTH = ("NORMAL", "FAILURE", "CHECK_FUNCTION", "OFF_SPEC", "MAINTENANCE_REQUIRED")

#: type: id, name, base, interfaces; a member below it: kind, id, name, data type or type, ! mandatory or ? optional.
_TABLES = {
    "DI": """
type 1005 FunctionalGroupType 61
type 15035 IVendorNameplateType 17602 abstract
   property 15036 Manufacturer LocalizedText ?
   property 15037 ManufacturerUri String ?
   property 15038 Model LocalizedText ?
   property 15039 HardwareRevision String ?
   property 15040 SoftwareRevision String ?
   property 15041 DeviceRevision String ?
   property 15042 ProductCode String ?
   property 15043 DeviceManual String ?
   property 15044 DeviceClass String ?
   property 15045 SerialNumber String ?
   property 15046 ProductInstanceUri String ?
   property 15047 RevisionCounter Int32 ?
type 15048 ITagNameplateType 17602 abstract
   property 15049 AssetId String ?
   property 15050 ComponentName LocalizedText ?
type 15051 IDeviceHealthType 17602 abstract
   variable 15052 DeviceHealth DI:6244 ?
type 1001 TopologyElementType 58 abstract
   object 5002 ParameterSet 58 ?
   object 5003 MethodSet 58 ?
   object 6014 Identification DI:1005 ?
type 15063 ComponentType DI:1001 abstract +DI:15035 +DI:15048
   property 15086 Manufacturer LocalizedText ?
   property 15087 ManufacturerUri String ?
   property 15088 Model LocalizedText ?
   property 15089 HardwareRevision String ?
   property 15090 SoftwareRevision String ?
   property 15091 DeviceRevision String ?
   property 15092 ProductCode String ?
   property 15093 DeviceManual String ?
   property 15094 DeviceClass String ?
   property 15095 SerialNumber String ?
   property 15096 ProductInstanceUri String ?
   property 15097 RevisionCounter Int32 ?
   property 15098 AssetId String ?
   property 15099 ComponentName LocalizedText ?
type 1002 DeviceType DI:15063 abstract +DI:15051
   property 6003 Manufacturer LocalizedText !
   property 15100 ManufacturerUri String ?
   property 6004 Model LocalizedText !
   property 6008 HardwareRevision String !
   property 6007 SoftwareRevision String !
   property 6006 DeviceRevision String !
   property 15101 ProductCode String ?
   property 6005 DeviceManual String !
   property 6470 DeviceClass String ?
   property 6001 SerialNumber String !
   property 15102 ProductInstanceUri String ?
   property 6002 RevisionCounter Int32 !
   variable 6208 DeviceHealth DI:6244 ?
type 1003 BlockType DI:1001 abstract
   property 6009 RevisionCounter Int32 ?
   property 6010 ActualMode LocalizedText ?
   property 6011 PermittedMode LocalizedText[] ?
   property 6012 NormalMode LocalizedText[] ?
   property 6013 TargetMode LocalizedText[] ?
type 1004 ConfigurableObjectType 58
   object 5004 SupportedTypes 61 !
""",
    "PLC": """
type 1001 CtrlConfigurationType DI:1002
   object 5002 MethodSet 58 ?
   object 5004 Resources DI:1004 !
   object 5006 GlobalVars DI:1005 !
   object 5007 AccessVars DI:1005 !
   object 5008 ConfigVars DI:1005 !
   object 5009 Configuration DI:1005 !
   object 5010 Diagnostic DI:1005 !
type 1002 CtrlResourceType DI:1002
   object 5012 MethodSet 58 ?
   object 5014 Tasks DI:1004 !
   object 5016 Programs DI:1004 !
   object 5018 GlobalVars DI:1005 ?
   object 5019 Configuration DI:1005 ?
   object 5020 Diagnostic DI:1005 ?
type 1003 CtrlProgramOrganizationUnitType DI:1003 abstract
   variable 6001 Body XmlElement ?
type 1004 CtrlProgramType PLC:1003 abstract
   variable 6002 Program Structure ?
type 1005 CtrlFunctionBlockType PLC:1003 abstract
   variable 6003 FunctionBlock BaseDataType ?
type 1006 CtrlTaskType 58
   property 6004 Priority UInt32 !
   property 6005 Interval String ?
   property 6006 Single String ?
type 1007 SFCType 58
""",
    "M": """
type 1003 IMachineryItemVendorNameplateType DI:15035 abstract
   property 6027 InitialOperationDate DateTime ?
   property 6022 DI:Manufacturer LocalizedText !
   property 6026 MonthOfConstruction Byte ?
   property 6024 DI:SerialNumber String !
   property 6025 YearOfConstruction UInt16 ?
type 1010 IMachineVendorNameplateType M:1003 abstract
   property 6023 DI:ProductInstanceUri String !
type 1011 IMachineTagNameplateType DI:15048 abstract
   property 6028 Location String ?
type 1004 MachineryItemIdentificationType DI:1005 abstract +M:1003 +DI:15048
   property 6013 DI:AssetId String ?
   property 6014 DI:ComponentName LocalizedText ?
   property 6012 DI:DeviceClass String ?
   property 6010 DI:HardwareRevision String ?
   property 6006 InitialOperationDate DateTime ?
   property 6002 DI:Manufacturer LocalizedText !
   property 6007 DI:ManufacturerUri String ?
   property 6008 DI:Model LocalizedText ?
   property 6005 MonthOfConstruction Byte ?
   property 6009 DI:ProductCode String ?
   property 6001 DI:ProductInstanceUri String ?
   property 6003 DI:SerialNumber String !
   property 6011 DI:SoftwareRevision String ?
   property 6004 YearOfConstruction UInt16 ?
type 1012 MachineIdentificationType M:1004 +M:1011 +M:1010
   property 6029 Location String ?
   property 6015 DI:ProductInstanceUri String !
""",
}
#: References of PLCopen: id, name, the other way, and what it is a kind of.
_REFERENCES = (
    (4001, "HasInputVars", "InputVarsOf", 47),
    (4002, "HasOutputVars", "OutputVarsOf", 47),
    (4003, "HasInOutVars", "InOutVarsOf", 47),
    (4004, "HasLocalVars", "LocalVarsOf", 47),
    (4005, "HasExternalVars", "ExternalVarsOf", 35),
    (4006, "With", "Executes", 32),
)
_COMPONENT, _PROPERTY = ua.ObjectIds.HasComponent, ua.ObjectIds.HasProperty


@dataclass(frozen=True, slots=True)
class Member:
    """What instances of a type have."""

    kind: str
    number: int
    name: str
    of: str
    mandatory: bool


@dataclass(slots=True)
class Type:
    """An object type: base and interfaces as `model:id`, or an id of the base model."""

    model: str
    number: int
    name: str
    base: str
    abstract: bool = False
    interfaces: list[str] = field(default_factory=list)
    members: list[Member] = field(default_factory=list)


def types() -> Iterator[Type]:
    """The object types of all three models, bases first."""
    for model, table in _TABLES.items():
        current: Type | None = None
        for line in table.strip().splitlines():
            words = line.split()
            if words[0] == "type":
                if current is not None:
                    yield current
                current = Type(
                    model, int(words[1]), words[2], words[3], "abstract" in words,
                    [word[1:] for word in words if word.startswith("+")],
                )  # fmt: skip
            elif current is not None:
                name = words[2] if ":" in words[2] else f"{model}:{words[2]}"
                current.members.append(
                    Member(words[0], int(words[1]), name, words[3], words[4] == "!")
                )
        if current is not None:
            yield current


class Models:
    """The types in a server's address space, and instances of them."""

    def __init__(self, server: Server, own: int) -> None:
        self._server = server
        self._manage = server.iserver.node_mgt_service
        self._types: dict[str, Type] = {}
        self.own = own
        #: Index of each namespace, by its letters.
        self.index: dict[str, int] = {"": own}

    async def define(self) -> None:
        """Register the namespaces and add every type."""
        for model, uri in NAMESPACES.items():
            self.index[model] = await self._server.register_namespace(uri)
        for model in NAMESPACES:
            self._metadata(model)
        for number, name, inverse, base in _REFERENCES:
            self.add(
                ua.NodeClass.ReferenceType, self.id("PLC", number), self.name(f"PLC:{name}"), ua.NodeId(base),
                ua.ObjectIds.HasSubtype, attributes=ua.ReferenceTypeAttributes(InverseName=ua.LocalizedText(inverse)),
            )  # fmt: skip
        self._health()
        for row in types():
            self._types[f"{row.model}:{row.number}"] = row
            self._define(row)

    # --- types ---------------------------------------------------------------------------------------------

    def _define(self, row: Type) -> None:
        typed = self.id(row.model, row.number)
        self.add(
            ua.NodeClass.ObjectType, typed, self.name(f"{row.model}:{row.name}"), self._of(row.base),
            ua.ObjectIds.HasSubtype, attributes=ua.ObjectTypeAttributes(IsAbstract=row.abstract),
        )  # fmt: skip
        for interface in row.interfaces:
            self.refer(typed, ua.NodeId(ua.ObjectIds.HasInterface), self._of(interface))
        for member in row.members:
            node = self._member(self.id(row.model, member.number), typed, member, None)
            rule = (
                ua.ObjectIds.ModellingRule_Mandatory
                if member.mandatory
                else ua.ObjectIds.ModellingRule_Optional
            )
            self.refer(node, ua.NodeId(ua.ObjectIds.HasModellingRule), ua.NodeId(rule))

    def _health(self) -> None:
        kind = self.id("DI", 6244)
        self.add(
            ua.NodeClass.DataType, kind, self.name("DI:DeviceHealthEnumeration"),
            ua.NodeId(ua.ObjectIds.Enumeration), ua.ObjectIds.HasSubtype, attributes=ua.DataTypeAttributes(),
        )  # fmt: skip
        self.variable(
            self.id("DI", 6450), ua.QualifiedName("EnumStrings", 0), kind, _PROPERTY,
            [ua.LocalizedText(state) for state in HEALTH], "LocalizedText[]",
        )  # fmt: skip

    def _metadata(self, model: str) -> None:
        """What the namespace is, and that it is not the whole of it."""
        version, year, month, day = _EDITIONS[model]
        node = self.object(
            self.id(model, _METADATA[model]), self.name(f"{model}:{NAMESPACES[model]}"),
            ua.NodeId(ua.ObjectIds.Server_Namespaces), _COMPONENT, ua.NodeId(ua.ObjectIds.NamespaceMetadataType),
        )  # fmt: skip
        facts: list[tuple[str, Any, str]] = [
            ("NamespaceUri", NAMESPACES[model], "String"),
            ("NamespaceVersion", version, "String"),
            ("NamespacePublicationDate", dt.datetime(year, month, day, tzinfo=dt.UTC), "DateTime"),
            ("IsNamespaceSubset", True, "Boolean"),
            ("StaticNodeIdTypes", [0], "Byte[]"),
            ("StaticNumericNodeIdRange", ["1:65535"], "String[]"),
            ("StaticStringNodeIdPattern", "", "String"),
        ]
        for name, value, kind in facts:
            self.variable(
                ua.NodeId(f"{model}/{name}", self.own), ua.QualifiedName(name, 0), node, _PROPERTY, value, kind,
            )  # fmt: skip

    # --- instances -----------------------------------------------------------------------------------------

    def instance(
        self, node: ua.NodeId, name: ua.QualifiedName, parent: ua.NodeId, reference: int, typed: str,
        values: Mapping[str, Any],
    ) -> dict[str, ua.NodeId]:  # fmt: skip
        """An object of a type: every mandatory member, and the optional ones that `values` names (an object's: None).

        Returns the node ids of the members by name, and of the object itself as "".

        Raises:
            KeyError: a mandatory property has no value.
        """
        made = {"": self.object(node, name, parent, reference, self._of(typed))}
        for member in self._members(typed):
            short = member.name.partition(":")[2]
            if member.kind in ("property", "variable"):
                if short not in values and not member.mandatory:
                    continue
                value = values[short]
            elif short not in values and not member.mandatory:
                continue
            else:
                value = None
            made[short] = self._member(
                ua.NodeId(f"{node.Identifier}/{short}", self.own), node, member, value
            )
            if member.of == "DI:1004":
                self._member(
                    ua.NodeId(f"{node.Identifier}/{short}/SupportedTypes", self.own), made[short],
                    Member("object", 0, "DI:SupportedTypes", "61", True), None,
                )  # fmt: skip
        return made

    def _members(self, typed: str) -> list[Member]:
        """Those of a type and its bases; what a type says again replaces its base's."""
        found: dict[str, Member] = {}
        chain = []
        while typed in self._types:
            chain.append(self._types[typed])
            typed = self._types[typed].base
        for row in reversed(chain):
            for member in row.members:
                found[member.name.partition(":")[2]] = member
        return list(found.values())

    def _member(self, node: ua.NodeId, owner: ua.NodeId, member: Member, value: Any) -> ua.NodeId:
        name = self.name(member.name)
        if member.kind == "object":
            return self.object(node, name, owner, _COMPONENT, self._of(member.of))
        reference = _PROPERTY if member.kind == "property" else _COMPONENT
        return self.variable(node, name, owner, reference, value, member.of)

    # --- nodes ---------------------------------------------------------------------------------------------

    def id(self, model: str, number: int) -> ua.NodeId:
        """A node of a model, by its number."""
        return ua.NodeId(number, self.index[model])

    def name(self, text: str) -> ua.QualifiedName:
        """`DI:Manufacturer` as a browse name; `:Text` is of our own namespace."""
        model, _, short = text.partition(":")
        return ua.QualifiedName(short, self.index[model])

    def _of(self, text: str) -> ua.NodeId:
        model, colon, number = text.partition(":")
        return self.id(model, int(number)) if colon else ua.NodeId(int(text))

    def object(
        self, node: ua.NodeId, name: ua.QualifiedName, parent: ua.NodeId, reference: int | ua.NodeId, typed: ua.NodeId
    ) -> ua.NodeId:  # fmt: skip
        """Add an object."""
        return self.add(
            ua.NodeClass.Object, node, name, parent, reference, typed, ua.ObjectAttributes(EventNotifier=ua.Byte(0))
        )  # fmt: skip

    def variable(
        self, node: ua.NodeId, name: ua.QualifiedName, parent: ua.NodeId, reference: int | ua.NodeId, value: Any,
        kind: str | ua.VariantType, *, description: str = "", dimensions: list[int] | None = None,
    ) -> ua.NodeId:  # fmt: skip
        """Add a variable that nobody but this process writes, of a built-in type (`String[]` for a list) or an enumeration."""
        many = dimensions is not None
        variant, data_type = ua.VariantType.Int32, ua.NodeId()
        if isinstance(kind, ua.VariantType):
            variant, data_type = kind, ua.NodeId(kind.value)
        elif ":" in kind:
            data_type = self._of(kind)
        else:
            many = kind.endswith("[]")
            short = kind.removesuffix("[]")
            data_type = ua.NodeId(getattr(ua.ObjectIds, short))
            variant = getattr(ua.VariantType, short, ua.VariantType.Null)
        if value is None:
            variant = ua.VariantType.Null
        attributes = ua.VariableAttributes(
            Description=ua.LocalizedText(description or None),
            Value=ua.Variant(value, variant),
            DataType=data_type,
            ValueRank=ua.ValueRank(len(dimensions) if dimensions else 1) if many else ua.ValueRank.Scalar,
            ArrayDimensions=[ua.UInt32(size) for size in dimensions] if dimensions else [],
            AccessLevel=ua.AccessLevel.CurrentRead.mask,
            UserAccessLevel=ua.AccessLevel.CurrentRead.mask,
        )  # fmt: skip
        typed = ua.ObjectIds.PropertyType if reference == _PROPERTY else ua.ObjectIds.BaseDataVariableType  # fmt: skip
        return self.add(
            ua.NodeClass.Variable, node, name, parent, reference, ua.NodeId(typed), attributes
        )

    def add(
        self, node_class: ua.NodeClass, node: ua.NodeId, name: ua.QualifiedName, parent: ua.NodeId,
        reference: int | ua.NodeId, typed: ua.NodeId | None = None, attributes: Any = None,
    ) -> ua.NodeId:  # fmt: skip
        """Add a node.

        Raises:
            ua.UaStatusCodeError: the address space refuses it.
        """
        attributes.DisplayName = ua.LocalizedText(name.Name)
        item = ua.AddNodesItem(
            ParentNodeId=parent,
            ReferenceTypeId=reference if isinstance(reference, ua.NodeId) else ua.NodeId(reference),
            RequestedNewNodeId=node,
            BrowseName=name,
            NodeClass=node_class,
            NodeAttributes=attributes,
            TypeDefinition=typed or ua.NodeId(),
        )
        (result,) = self._manage.add_nodes([item])
        result.StatusCode.check()
        return node

    def refer(self, source: ua.NodeId, reference: ua.NodeId, target: ua.NodeId) -> None:
        """A reference and its inverse."""
        for one, other, forward in ((source, target, True), (target, source, False)):
            item = ua.AddReferencesItem(
                SourceNodeId=one, ReferenceTypeId=reference, IsForward=forward, TargetNodeId=other,
            )  # fmt: skip
            self._manage.add_references([item])[0].check()

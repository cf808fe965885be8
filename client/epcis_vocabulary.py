"""The words of EPCIS 2.0 and CBV 2.0: standard vocabularies, their spellings, and contexts known by address.

Contexts are pinned here and never fetched: what a document means must not depend on who answers today.
Sources: GS1 EPCIS 2.0 (event types and fields), GS1 CBV 2.0 §7 (words), GS1 Web Vocabulary (measurements).
"""

from dataclasses import dataclass
from typing import Final

GS1_CONTEXT: Final = "https://ref.gs1.org/standards/epcis/epcis-context.jsonld"
# Every address under which the one context of EPCIS 2.0 is known.
PINNED_CONTEXTS: Final = frozenset(
    (
        GS1_CONTEXT,
        "https://ref.gs1.org/standards/epcis/2.0.0/epcis-context.jsonld",
        "https://ref.gs1.org/standards/epcis/2.0/epcis-context.jsonld",
        "https://ref.gs1.org/standards/epcis/2.0.1/epcis-context.jsonld",
        "https://gs1.github.io/EPCIS/epcis-context.jsonld",
        "https://gs1.org/epcis/epcis-context.jsonld",
    )
)
# The prefixes that context declares.
STANDARD_PREFIXES: Final[dict[str, str]] = {
    "cbv": "https://ref.gs1.org/cbv/",
    "cbvmda": "urn:epcglobal:cbv:mda",
    "dcterms": "http://purl.org/dc/terms/",
    "epcis": "https://ref.gs1.org/epcis/",
    "gs1": "https://gs1.org/voc/",
    "owl": "http://www.w3.org/2002/07/owl#",
    "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
    "rdfs": "http://www.w3.org/2000/01/rdf-schema#",
    "xsd": "http://www.w3.org/2001/XMLSchema#",
}


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Standard words of one kind. urn, web: under which namespaces they are spelled in full."""

    name: str
    words: frozenset[str]
    urn: str
    web: str

    def bare(self, text: str, cbv: str, gs1: str) -> str:
        """The standard word that `text` spells in another way; `text` itself where it spells none.

        cbv, gs1: what these prefixes stand for in the document; empty where that is unknown.
        """
        full = text
        if text.startswith("cbv:") and cbv:
            full = cbv + text[4:]
        elif text.startswith("gs1:") and gs1:
            full = gs1 + text[4:]
        for start in (self.urn, self.web, *(f"{scheme}://ns.gs1.org/cbv/" for scheme in ("http", "https"))):
            word = full.removeprefix(start)
            if start and word != full:
                word = word.removeprefix(self.web.rpartition("/")[2])
                if word in self.words:
                    return word
        return text


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_CBV: Final = "https://ref.gs1.org/cbv/"

# `notifying` and `subject_to_regulation` are not in CBV 2.0 itself; GS1's guideline on the EU's deforestation
# regulation has events bear them.
BIZ_STEP: Final = Vocabulary(
    "bizStep",
    _words(
        "accepting arriving assembling collecting commissioning consigning creating_class_instance cycle_counting "
        "decommissioning departing destroying disassembling dispensing encoding entering_exiting holding "
        "inspecting installing killing loading notifying other packing picking receiving removing repackaging repairing "
        "replacing reserving retail_selling sampling sensor_reporting shipping staging_outbound stock_taking "
        "stocking storing transporting unloading unpacking void_shipping"
    ),
    "urn:epcglobal:cbv:bizstep:",
    _CBV + "BizStep-",
)
DISPOSITION: Final = Vocabulary(
    "disposition",
    _words(
        "active available completeness_inferred completeness_verified conformant container_closed container_open "
        "damaged destroyed dispensed disposed encoded expired in_progress in_transit inactive mismatch_class "
        "mismatch_instance mismatch_quantity needs_replacement no_pedigree_match non_conformant "
        "non_sellable_other partially_dispensed recalled reserved retail_sold returned sellable_accessible "
        "sellable_not_accessible stolen subject_to_regulation unavailable unknown"
    ),
    "urn:epcglobal:cbv:disp:",
    _CBV + "Disp-",
)
TRANSACTION_TYPE: Final = Vocabulary(
    "business transaction type",
    _words("bol cert desadv inv pedigree po poc prodorder recadv rma testprd testres upevt"),
    "urn:epcglobal:cbv:btt:",
    _CBV + "BTT-",
)
PARTY_ROLE: Final = Vocabulary(
    "source or destination type",
    _words("owning_party possessing_party location"),
    "urn:epcglobal:cbv:sdt:",
    _CBV + "SDT-",
)
ERROR_REASON: Final = Vocabulary(
    "error reason", _words("did_not_occur incorrect_data"), "urn:epcglobal:cbv:er:", _CBV + "ER-"
)
COMPONENT: Final = Vocabulary(
    "component",
    _words(
        "x y z axial_distance azimuth height spherical_radius polar_angle elevation_angle easting northing "
        "latitude longitude altitude"
    ),
    "urn:epcglobal:cbv:comp:",
    _CBV + "Comp-",
)
MEASUREMENT: Final = Vocabulary(
    "measurement type",
    _words(
        "AbsoluteHumidity AbsorbedDose AbsorbedDoseRate Acceleration Altitude AmountOfSubstance "
        "AmountOfSubstancePerUnitVolume Angle AngularAcceleration AngularMomentum AngularVelocity Area "
        "Capacitance Conductance Conductivity Count Density Dimensionless DoseEquivalent DoseEquivalentRate "
        "DynamicViscosity ElectricCharge ElectricCurrent ElectricCurrentDensity ElectricFieldStrength Energy "
        "Exposure Force Frequency Illuminance Inductance Irradiance KinematicViscosity Length LinearMomentum "
        "Luminance LuminousFlux LuminousIntensity MagneticFlux MagneticFluxDensity MagneticVectorPotential Mass "
        "MassConcentration MassFlowRate MassPerAreaTime MemoryCapacity MolalityOfSolute MolarEnergy MolarMass "
        "MolarVolume Power Pressure RadiantFlux RadiantIntensity Radioactivity RelativeHumidity Resistance "
        "Resistivity SolidAngle SpecificVolume Speed SurfaceDensity SurfaceTension Temperature Time Torque "
        "Voltage Volume VolumeFlowRate VolumeFraction VolumetricFlux Wavenumber"
    ),
    "",
    "https://gs1.org/voc/",
)
ALERT: Final = Vocabulary(
    "sensor alert", _words("ALARM_CONDITION ERROR_CONDITION"), "", "https://gs1.org/voc/"
)

ACTIONS: Final = ("ADD", "OBSERVE", "DELETE")

#include <fmt/format.h>

#include <cstring>

#include "gdbstub/protocol/registers.h"

// Types that a feature's registers use are defined in that feature: GDB looks for them nowhere else.

namespace gcore::gdbstub {
namespace {

constexpr char kEflags[] = R"(<flags id="i386_eflags" size="4">
<field name="" start="22" end="31"/><field name="CF" start="0" end="0"/><field name="" start="1" end="1"/>
<field name="PF" start="2" end="2"/><field name="AF" start="4" end="4"/><field name="ZF" start="6" end="6"/>
<field name="SF" start="7" end="7"/><field name="TF" start="8" end="8"/><field name="IF" start="9" end="9"/>
<field name="DF" start="10" end="10"/><field name="OF" start="11" end="11"/><field name="IOPL" start="12" end="13"/>
<field name="NT" start="14" end="14"/><field name="RF" start="16" end="16"/><field name="VM" start="17" end="17"/>
<field name="AC" start="18" end="18"/><field name="VIF" start="19" end="19"/><field name="VIP" start="20" end="20"/>
<field name="ID" start="21" end="21"/></flags>
)";

constexpr char kSseTypes[] = R"(<vector id="v4f" type="ieee_single" count="4"/>
<vector id="v2d" type="ieee_double" count="2"/><vector id="v16i8" type="int8" count="16"/>
<vector id="v8i16" type="int16" count="8"/><vector id="v4i32" type="int32" count="4"/>
<vector id="v2i64" type="int64" count="2"/>
<union id="vec128"><field name="v4_float" type="v4f"/><field name="v2_double" type="v2d"/>
<field name="v16_int8" type="v16i8"/><field name="v8_int16" type="v8i16"/><field name="v4_int32" type="v4i32"/>
<field name="v2_int64" type="v2i64"/><field name="uint128" type="uint128"/></union>
<flags id="i386_mxcsr" size="4"><field name="IE" start="0" end="0"/><field name="DE" start="1" end="1"/>
<field name="ZE" start="2" end="2"/><field name="OE" start="3" end="3"/><field name="UE" start="4" end="4"/>
<field name="PE" start="5" end="5"/><field name="DAZ" start="6" end="6"/><field name="IM" start="7" end="7"/>
<field name="DM" start="8" end="8"/><field name="ZM" start="9" end="9"/><field name="OM" start="10" end="10"/>
<field name="UM" start="11" end="11"/><field name="PM" start="12" end="12"/><field name="FZ" start="15" end="15"/>
</flags>
)";

constexpr char kControlFlags[] = R"(<flags id="gcore_cr0" size="{0}"><field name="PE" start="0" end="0"/>
<field name="MP" start="1" end="1"/><field name="EM" start="2" end="2"/><field name="TS" start="3" end="3"/>
<field name="ET" start="4" end="4"/><field name="NE" start="5" end="5"/><field name="WP" start="16" end="16"/>
<field name="AM" start="18" end="18"/><field name="NW" start="29" end="29"/><field name="CD" start="30" end="30"/>
<field name="PG" start="31" end="31"/></flags>
<flags id="gcore_cr4" size="{0}"><field name="VME" start="0" end="0"/><field name="PVI" start="1" end="1"/>
<field name="TSD" start="2" end="2"/><field name="DE" start="3" end="3"/><field name="PSE" start="4" end="4"/>
<field name="PAE" start="5" end="5"/><field name="MCE" start="6" end="6"/><field name="PGE" start="7" end="7"/>
<field name="PCE" start="8" end="8"/><field name="OSFXSR" start="9" end="9"/>
<field name="OSXMMEXCPT" start="10" end="10"/><field name="UMIP" start="11" end="11"/>
<field name="LA57" start="12" end="12"/><field name="VMXE" start="13" end="13"/><field name="SMXE" start="14" end="14"/>
<field name="FSGSBASE" start="16" end="16"/><field name="PCIDE" start="17" end="17"/>
<field name="OSXSAVE" start="18" end="18"/><field name="SMEP" start="20" end="20"/>
<field name="SMAP" start="21" end="21"/>
<field name="PKE" start="22" end="22"/></flags>
<flags id="gcore_efer" size="{0}"><field name="SCE" start="0" end="0"/><field name="LME" start="8" end="8"/>
<field name="LMA" start="10" end="10"/><field name="NXE" start="11" end="11"/></flags>
)";

constexpr char kArmFpuTypes[] = R"(<vector id="v2d" type="ieee_double" count="2"/>
<vector id="v2u" type="uint64" count="2"/><vector id="v4f" type="ieee_single" count="4"/>
<vector id="v4u" type="uint32" count="4"/><vector id="v8u" type="uint16" count="8"/>
<vector id="v16u" type="uint8" count="16"/><vector id="v1u" type="uint128" count="1"/>
<union id="vnd"><field name="f" type="v2d"/><field name="u" type="v2u"/></union>
<union id="vns"><field name="f" type="v4f"/><field name="u" type="v4u"/></union>
<union id="vnh"><field name="u" type="v8u"/></union><union id="vnb"><field name="u" type="v16u"/></union>
<union id="vnq"><field name="u" type="v1u"/></union>
<union id="aarch64v"><field name="d" type="vnd"/><field name="s" type="vns"/><field name="h" type="vnh"/>
<field name="b" type="vnb"/><field name="q" type="vnq"/></union>
)";

constexpr char kCpsrFlags[] = R"(<flags id="cpsr_flags" size="4"><field name="SP" start="0" end="0"/>
<field name="EL" start="2" end="3"/><field name="nRW" start="4" end="4"/><field name="F" start="6" end="6"/>
<field name="I" start="7" end="7"/><field name="A" start="8" end="8"/><field name="D" start="9" end="9"/>
<field name="IL" start="20" end="20"/><field name="SS" start="21" end="21"/><field name="PAN" start="22" end="22"/>
<field name="V" start="28" end="28"/><field name="C" start="29" end="29"/><field name="Z" start="30" end="30"/>
<field name="N" start="31" end="31"/></flags>
)";

std::string feature_types(std::string_view feature, Arch arch) {
  if (feature == "org.gnu.gdb.i386.core") return kEflags;
  if (feature == "org.gnu.gdb.i386.sse") return kSseTypes;
  if (feature == "org.gcore.i386.system") return fmt::format(kControlFlags, arch == Arch::x86_64 ? 8 : 4);
  if (feature == "org.gnu.gdb.aarch64.core") return kCpsrFlags;
  if (feature == "org.gnu.gdb.aarch64.fpu") return kArmFpuTypes;
  return {};
}

const char* architecture(Arch arch) {
  switch (arch) {
    case Arch::aarch64:
      return "aarch64";
    case Arch::i386:
      return "i386";
    case Arch::x86_64:
      break;
  }
  return "i386:x86-64";
}

}  // namespace

std::string target_xml(const Target& target) {
  const Arch arch = target.arch();
  const auto all = register_set(arch).all;
  const auto has = [&target](std::string_view name) {
    for (size_t cpu = 0; cpu < target.cpu_count(); ++cpu)
      if (target.register_value(cpu, name)) return true;
    return false;
  };
  const bool avx = has("ymm0h.lo"), pauth = has("pauth_mask");
  std::string xml = fmt::format(
      "<?xml version=\"1.0\"?>\n<!DOCTYPE target SYSTEM \"gdb-target.dtd\">\n"
      "<target version=\"1.0\">\n<architecture>{}</architecture>\n",
      architecture(arch));
  std::vector<std::string_view> features;
  for (const Register& reg : all) {
    bool known = false;
    for (const auto& feature : features) known = known || feature == reg.feature;
    if (std::string_view(reg.feature) == kAvxFeature && !avx) continue;
    if (std::string_view(reg.feature) == kPauthFeature && !pauth) continue;
    if (!known) features.emplace_back(reg.feature);
  }
  for (const auto& feature : features) {
    xml += fmt::format("<feature name=\"{}\">\n{}", feature, feature_types(feature, arch));
    for (const Register& reg : all) {
      if (feature != reg.feature) continue;
      xml += fmt::format("<reg name=\"{}\" bitsize=\"{}\" type=\"{}\" regnum=\"{}\" group=\"{}\"/>\n", reg.name,
                         reg.bytes * 8, reg.type, reg.number, reg.group);
    }
    xml += "</feature>\n";
  }
  return xml + "</target>\n";
}

}  // namespace gcore::gdbstub

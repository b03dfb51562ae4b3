// What the two sides agree on, and the documents that describe the machine.
#include <fmt/format.h>

#include <algorithm>

#include "gdbstub/protocol/client.h"
#include "gdbstub/protocol/packet.h"
#include "gdbstub/protocol/registers.h"
#include "writer/base/text.h"

namespace gcore::gdbstub {
namespace {

Reply supported(Client& client, std::string_view arguments) {
  const auto offers = [arguments](std::string_view feature) {
    for (size_t at = 0; at < arguments.size();) {
      const size_t end = std::min(arguments.find_first_of(";:", at), arguments.size());
      if (arguments.substr(at, end - at) == feature) return true;
      at = end + 1;
    }
    return false;
  };
  client.multiprocess = offers("multiprocess+");
  client.error_text = offers("error-message+");
  client.binary_upload = offers("binary-upload+");
  client.lldb = client.lldb || offers("xmlRegisters=i386,arm,mips,arc");
  std::string reply = fmt::format(
      "PacketSize={:x};QStartNoAckMode+;multiprocess+;vContSupported+;qXfer:features:read+;qXfer:threads:read+",
      kMaxPayload);
  if (client.target.unpaged()) reply += ";qXfer:memory-map:read+";
  if (client.lldb ? client.options.exec_file != nullptr : client.offers_file())
    reply += client.lldb ? ";qXfer:libraries-svr4:read+" : ";qXfer:exec-file:read+";
  if (!client.lldb && client.offers_libraries()) reply += ";qXfer:libraries:read+;qXfer:libraries-svr4:read+";
  if (client.error_text) reply += ";error-message+";
  if (client.binary_upload) reply += ";binary-upload+";
  return {reply};
}

std::string threads_xml(const Client& client) {
  std::string xml = "<?xml version=\"1.0\"?>\n<threads>\n";
  const size_t count = client.thread_count();
  for (size_t i = 0; i < count; ++i) {
    const size_t cpu = listed_cpu(client, i);
    xml += fmt::format("<thread id=\"{}\"{} name=\"{}\">{}</thread>\n", thread_id(client, cpu),
                       client.is_cpu(cpu) ? fmt::format(" core=\"{}\"", cpu) : "",
                       xml_escape(client.target.cpu_name(cpu)), xml_escape(client.target.cpu_details(cpu)));
  }
  return xml + "</threads>\n";
}

/// Overlapping segments are merged: GDB refuses a map in which regions overlap.
std::string memory_map_xml(const Client& client) {
  std::string xml =
      "<?xml version=\"1.0\"?>\n<!DOCTYPE memory-map PUBLIC \"+//IDN gnu.org//DTD GDB Memory Map V1.0//EN\" "
      "\"http://sourceware.org/gdb/gdb-memory-map.dtd\">\n<memory-map>\n";
  const auto add = [&xml](uint64_t start, uint64_t last) {
    if (start == 0 && last == UINT64_MAX) last -= 1;
    xml += fmt::format("<memory type=\"ram\" start=\"{:#x}\" length=\"{:#x}\"/>\n", start, last - start + 1);
  };
  std::optional<std::pair<uint64_t, uint64_t>> run;
  for (const Segment& segment : client.target.segments()) {
    const uint64_t last = segment.address + segment.size - 1;
    if (run && (run->second == UINT64_MAX || segment.address <= run->second + 1)) {
      run->second = std::max(run->second, last);
      continue;
    }
    if (run) add(run->first, run->second);
    run = {segment.address, last};
  }
  if (run) add(run->first, run->second);
  return xml + "</memory-map>\n";
}

/// The file that LLDB is offered, which asks for no exec-file: it takes what a stop reply says are libraries, and reads
/// the file by its path where it is itself. It makes an executable among them the target's each time that it has the
/// list, and forgets where that was loaded, which qOffsets says: after that there is nothing new.
std::string libraries_xml(const Client& client) {
  if (client.placed) return "<library-list-svr4 version=\"1.0\"></library-list-svr4>\n";
  const ExecFile& file = *client.options.exec_file;
  const uint64_t displacement =
      linked_address(client.target, &file) ? client.target.kernel_displacement().value_or(0) : 0;
  return fmt::format(
      "<library-list-svr4 version=\"1.0\"><library name=\"{}\" lm=\"0x1\" l_addr=\"{:#x}\" l_ld=\"0x0\"/>"
      "</library-list-svr4>\n",
      xml_escape(file.path()), displacement);
}

/// Modules of the kernel as libraries. GDB asks for the SVR4 form on aarch64. On x86_64 it takes only a description
/// with the registers of org.gnu.gdb.i386.linux for a GNU/Linux program, and asks for the plain form: with the
/// distance of each section in memory from where its file has it, which is none.
std::string modules_xml(const Client& client, bool svr4) {
  std::string xml = svr4 ? "<library-list-svr4 version=\"1.0\">\n" : "<library-list>\n";
  size_t number = 0;
  for (const Library& module : client.options.made_file->libraries()) {
    const std::string name = xml_escape(module.file.path());
    if (svr4) {
      xml +=
          fmt::format("<library name=\"{}\" lm=\"{:#x}\" l_addr=\"0x0\" l_ld=\"0x0\" lmid=\"0x0\"/>\n", name, ++number);
      continue;
    }
    xml += fmt::format("<library name=\"{}\">", name);
    for (size_t i = 0; i < module.sections; ++i) xml += "<section address=\"0x0\"/>";
    xml += "</library>\n";
  }
  return xml + (svr4 ? "</library-list-svr4>\n" : "</library-list>\n");
}

/// qXfer:OBJECT:read:ANNEX:OFFSET,LENGTH
Reply transfer(Client& client, std::string_view arguments) {
  if (!arguments.starts_with(':')) return {};
  arguments.remove_prefix(1);
  const size_t object_end = arguments.find(':');
  if (object_end == std::string_view::npos || !arguments.substr(object_end).starts_with(":read:")) return {};
  const std::string_view object = arguments.substr(0, object_end);
  const std::string_view rest = arguments.substr(object_end + 6);
  const size_t annex_end = rest.rfind(':');
  if (annex_end == std::string_view::npos) return error(client, "qXfer needs an annex and a range");
  const std::string_view annex = rest.substr(0, annex_end), range = rest.substr(annex_end + 1);
  if (object == "features") {
    if (annex != "target.xml") return error(client, "there is no such description");
    client.described = true;
    return document_part(client, target_xml(client.target), range);
  }
  if (object == "threads")
    return when_known(client, Asks::threads, [&client, range = std::string(range)] {
      if (client.threads_document.empty()) client.threads_document = threads_xml(client);
      return document_part(client, client.threads_document, range);
    });
  if (object == "memory-map" && (client.physical || client.target.unpaged()))
    return document_part(client, memory_map_xml(client), range);
  if (object == "libraries-svr4" && client.lldb && client.options.exec_file != nullptr)
    return when_known(client, Asks::guest, [&client, range = std::string(range)] {
      return document_part(client, libraries_xml(client), range);
    });
  if ((object == "libraries-svr4" || object == "libraries") && !client.lldb && client.offers_libraries())
    return when_known(client, Asks::libraries,
                      [&client, svr4 = object == "libraries-svr4", range = std::string(range)] {
                        return document_part(client, modules_xml(client, svr4), range);
                      });
  if (object == "exec-file" && client.offers_file())
    return when_known(client, Asks::file, [&client, range = std::string(range)] {
      const ExecFile* file = client.file();
      client.took_made_file = client.options.exec_file == nullptr && client.options.made_file->is_of_running_kernel();
      return file != nullptr ? document_part(client, file->path(), range) : error(client, "the guest has no names");
    });
  return {};
}

Reply attached(Client&, std::string_view) { return {"1"}; }
Reply symbols_wanted(Client&, std::string_view) { return ok(); }

/// Where the kernel is, when it was moved: an answer where it was not has scripts take the guest for a program. GDB
/// wants the place of its first segment. LLDB takes any such number for the distance that all sections were moved by,
/// so that it gets that.
Reply offsets(Client& client, std::string_view) {
  client.placed = client.lldb;
  if (!client.options.tell_offsets || client.took_made_file) return {};
  const auto displacement = client.target.kernel_displacement();
  const auto linked = linked_address(client.target, client.file());
  if (client.lldb && client.options.exec_file != nullptr && (!linked || displacement.value_or(0) == 0))
    return {"Text=0;Data=0;Bss=0"};
  if (!displacement || *displacement == 0 || !linked) return {};
  if (client.lldb) return {fmt::format("Text={0:x};Data={0:x};Bss={0:x}", *displacement)};
  return {"TextSeg=" + hex_number(*linked + *displacement)};
}

Reply monitor(Client& client, std::string_view arguments) {
  const auto command = from_hex(arguments.substr(arguments.empty() ? 0 : 1));
  if (!command) return error(client, "the command is not in hex");
  return run_monitor(client, *command);
}

Reply physical_mode(Client& client, std::string_view) { return {client.physical ? "1" : "0"}; }

Reply set_physical_mode(Client& client, std::string_view arguments) {
  if (arguments != ":0" && arguments != ":1") return error(client, "the mode is 0 or 1");
  client.physical = arguments == ":1";
  return ok();
}

/// QEMU's: which parts of the machine go on while it steps. None do.
Reply step_bits(Client&, std::string_view) { return {"ENABLE=1,NOIRQ=2,NOTIMER=4"}; }
Reply step_setting(Client&, std::string_view) { return {"0x7"}; }
Reply set_step_setting(Client&, std::string_view) { return ok(); }

Reply all_registers(Client& client, std::string_view) { return {general_registers_hex(client)}; }

Reply one_register(Client& client, std::string_view arguments) {
  const auto number = parse_hex(arguments);
  const RegisterSet& set = register_set(client.target.arch());
  if (!number || *number >= set.all.size()) return error(client, "there is no such register");
  if (!client.described && *number >= set.undescribed_count) return {};  // means another register to it
  const Register& reg = set.all[*number];
  if (client.lldb && !has_register(client, reg)) return {"E01"};  // it would take x for digits, and show a value
  return {register_hex(client, reg)};
}

constexpr NamedHandler kHandlers[] = {
    {"qSupported", supported},
    {"qXfer", transfer},
    {"qAttached", attached},
    {"qSymbol", symbols_wanted},
    {"qOffsets", offsets, Asks::guest},
    {"qRcmd", monitor},
    {"qqemu.PhyMemMode", physical_mode},
    {"Qqemu.PhyMemMode", set_physical_mode},
    {"qqemu.sstepbits", step_bits},
    {"qqemu.sstep", step_setting},
    {"Qqemu.sstep", set_step_setting},
    {"Qqemu.sstepbits", step_bits},
    {"g", all_registers},
    {"p", one_register},
};

}  // namespace

std::span<const NamedHandler> query_handlers() { return kHandlers; }

Reply ok() { return {"OK"}; }

Reply error(const Client& client, std::string_view why) {
  if (!client.error_text) return {"E01"};
  std::string text = "E.";
  for (const char c : why)
    text += c >= 0x20 && c < 0x7f && std::string_view("#$}*").find(c) == std::string_view::npos ? c : '?';
  return {text};
}

std::optional<AddressLength> parse_address_length(std::string_view text, char separator) {
  const size_t at = text.find(separator);
  if (at == std::string_view::npos) return std::nullopt;
  const auto address = parse_hex(text.substr(0, at)), length = parse_hex(text.substr(at + 1));
  if (!address || !length) return std::nullopt;
  return AddressLength{*address, *length};
}

Reply document_part(const Client& client, std::string_view document, std::string_view range) {
  const auto wanted = parse_address_length(range);
  if (!wanted || wanted->address > document.size()) return error(client, "the range is outside the document");
  // Escaping may double the bytes.
  const size_t length = std::min<uint64_t>(wanted->length, kMaxPayload / 2 - 1);
  const std::string_view part = document.substr(wanted->address, length);
  return {(wanted->address + part.size() == document.size() ? "l" : "m") + std::string(part)};
}

std::string xml_escape(std::string_view text) {
  std::string plain(text);
  for (char& c : plain)
    if (c < 0x20 || c > 0x7e) c = '?';  // names in a dump may be any bytes, XML may not
  return base::escape_markup(plain);
}

std::string json_string(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c >= 0x20 && c < 0x7f ? c : '?';
  }
  return out + "\"";
}

}  // namespace gcore::gdbstub

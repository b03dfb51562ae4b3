#include "writer/sink.h"

namespace gcore::writer {

bool is_supported(Compression compression) { return compression == Compression::none; }

std::unique_ptr<Sink> compress(Compression /*compression*/, std::unique_ptr<Sink> next) { return next; }

}  // namespace gcore::writer

# Makes plain text of the links, in the pages below gcore_pages, that lead to files that are not there.
file(GLOB_RECURSE pages "${gcore_pages}/*.md")
foreach(page IN LISTS pages)
  file(READ "${page}" text)
  # Manuals, sources, and what is for those who change them.
  string(REGEX REPLACE "\\[([^]\n]+)\\]\\((\\.\\./)*(tools/|writer/[a-z_/]*\\.h|CONTRIBUTING|docs/gcore\\.5|gcore\\.5)[^)]*\\)" "\\1" text "${text}")
  file(WRITE "${page}" "${text}")
endforeach()

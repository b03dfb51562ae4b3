// The style and the script of the HTML page, inside the program. The build system says where they are.

.section .rodata
.global gcore_page_css, gcore_page_css_end, gcore_page_js, gcore_page_js_end
gcore_page_css:
    .incbin GCORE_PAGE_CSS
gcore_page_css_end:
gcore_page_js:
    .incbin GCORE_PAGE_BASE
    .incbin GCORE_PAGE_MAP
    .incbin GCORE_PAGE_SPACE
    .incbin GCORE_PAGE_LINUX
    .incbin GCORE_PAGE_SCRIPT
gcore_page_js_end:

.section .note.GNU-stack, "", %progbits

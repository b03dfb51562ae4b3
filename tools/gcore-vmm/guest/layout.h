/* Where things are in the built-in guest. Macros only: assembly reads it too.
 *
 * Guest-physical, + the RAM's start  Virtual (on x86_64 RAM starts at 0, on aarch64 at 0x40000000)
 *   0x000000  the VMM's boot area
 *   0x100000  boot code              itself, 4 KiB pages
 *   0x200000  the image, as loaded   (copied away, page by page)
 *   0x400000  1024 frames, taken in  0xffffffff80000000 the image, 4 KiB pages in scrambled order
 *             scrambled order        0xffffffff90000000 a stack a vCPU, each above an unmapped hole
 *                                    0x00007f0000000000 the user program: text; its stack 64 KiB above
 *   0x800000  the heap               0xffffc90000000000 one 2 MiB page
 *   0xc00000  buffers                0xffff888000c00000 in the direct map: one 1 GiB page
 *   devices (aarch64)                0xffffd00000000000 console, power, watchdog; 0x00007f0000100000 console
 */
#ifndef GUEST_LAYOUT_H
#define GUEST_LAYOUT_H

#define GUEST_MAX_CPUS 64 /* as many as gcore-vmm has */
#define GUEST_RAM_NEEDED 0x1000000

#ifdef __aarch64__
#define GUEST_PHYSICAL 0x40000000
#else
#define GUEST_PHYSICAL 0
#endif
#define GUEST_IMAGE_PHYSICAL (GUEST_PHYSICAL + 0x200000)
#define GUEST_FRAMES (GUEST_PHYSICAL + 0x400000)
#define GUEST_FRAME_COUNT 1024
#define GUEST_HEAP_PHYSICAL (GUEST_PHYSICAL + 0x800000)
#define GUEST_BUFFERS 0xc00000 /* from GUEST_DIRECT_MAP */

#define GUEST_IMAGE 0xffffffff80000000
#define GUEST_STACKS 0xffffffff90000000
#define GUEST_STACK_STRIDE 0x10000 /* the upper GUEST_STACK_SIZE bytes are mapped, below is the hole */
#define GUEST_STACK_SIZE 0x4000
#define GUEST_HEAP 0xffffc90000000000
#define GUEST_HEAP_STRIDE 0x8000 /* a vCPU: 64 of them fill the page */
#define GUEST_DIRECT_MAP 0xffff888000000000
#define GUEST_USER 0x00007f0000000000
#define GUEST_USER_STACK 0x00007f0000010000
#define GUEST_USER_CONSOLE 0x00007f0000100000
#define GUEST_DEVICES 0xffffd00000000000

#endif

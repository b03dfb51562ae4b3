// Boots the Linux guests that the tests look at, and has them dumped, before a test asks for one: much of that is
// waiting (for a kernel's watchdogs, say), during which something else can be built.
//
//   cook_guests [AT_ONCE]      default: 2
//
// What is there already is kept. Exit 0 also when a guest could not be cooked: the test that needs it tries again, and
// says what is wrong.
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <functional>
#include <string>
#include <vector>

#include "tests/reader_linux/guests.h"
#include "tests/support/trouble_guest.h"

int main(int argc, char** argv) {
  using namespace gcore::tests;  // NOLINT: a program of one file
  struct Dish {
    std::string name;
    std::function<void()> cook;
  };
  std::vector<Dish> dishes;  // what takes longest comes first
  for (const Guest& guest : kGuests)
    dishes.push_back({std::string("trouble ") + guest.machine + " " + guest.series,
                      [&guest] { trouble_guest(guest.machine, guest.kernel); }});
  for (const Guest& guest : guests_and_isolating())
    dishes.push_back({std::string(guest.variant) + " " + guest.machine + " " + guest.series,
                      [guest] { linux_oracle(guest.recipe()); }});

  const int at_once = argc > 1 ? std::atoi(argv[1]) : 2;
  int running = 0;
  for (const Dish& dish : dishes) {
    if (running == at_once && wait(nullptr) > 0) --running;
    const pid_t child = fork();
    if (child < 0) return std::perror("cook_guests: fork"), 1;
    ++running;
    if (child > 0) continue;
    try {
      dish.cook();
      std::printf("cooked: %s\n", dish.name.c_str());
    } catch (const std::exception& error) {
      std::printf("not cooked: %s: %s\n", dish.name.c_str(), error.what());
    }
    std::fflush(stdout);
    _exit(0);
  }
  while (wait(nullptr) > 0) {
  }
}

/* Start-up of a Cortex-M4: the vector table, memory as C expects it, then main. */
#include <stdint.h>

#define EXIT (*(volatile uint32_t *)0x40000004u) /* a register of the emulated machine: ends it */

extern uint32_t stack_top, data_from, data_start, data_end, bss_start, bss_end; /* of sections.ld */
extern int main(void);
void reset_handler(void);

void reset_handler(void)
{
    const uint32_t *from = &data_from;
    for (uint32_t *to = &data_start; to < &data_end;) {
        *to++ = *from++;
    }
    for (uint32_t *to = &bss_start; to < &bss_end;) {
        *to++ = 0;
    }
    EXIT = (uint32_t)main();
    for (;;) {
    }
}

__attribute__((section(".vectors"), used)) static const struct {
    uint32_t *stack;
    void (*reset)(void);
} vectors = {&stack_top, reset_handler};

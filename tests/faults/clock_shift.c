/* LD_PRELOAD for redis-server: adds the seconds in the file $CLOCK_SHIFT_FILE to its clock.
 *
 * Not libfaketime, whose 0.9.10 ends redis-server 7.0 by a recursion. Includes nothing and links to
 * nothing, so that a bare gcc is enough: gcc -shared -fPIC -nostdlib -o clock_shift.so clock_shift.c
 */
typedef struct { long seconds, part; } moment;

char *getenv(const char *name);
int open(const char *path, int flags, ...);
long read(int file, void *buffer, unsigned long size);
int close(int file);
long atol(const char *text);
int clock_gettime(int clock, moment *now);

int gettimeofday(moment *now, void *zone)
{
    const char *path = getenv("CLOCK_SHIFT_FILE");
    char text[32];
    moment real;
    long shift = 0;
    int file = path ? open(path, 0) : -1;
    if (file >= 0) {
        long length = read(file, text, sizeof text - 1);
        close(file);
        if (length > 0) {
            text[length] = 0;
            shift = atol(text);
        }
    }
    clock_gettime(0, &real);
    now->seconds = real.seconds + shift;
    now->part = real.part / 1000;
    return 0;
}

/*
 * A stand-in for NVIDIA's pyxis, for tests: the same options of srun, with a real mount namespace, real bind mounts
 * and a real root folder of the task's own; without a user namespace and without registries.
 *
 *   required nemotron_pyxis.so cache=DIR records=DIR run=DIR registry=DIR
 *
 * cache     images unpacked once, by the identity of the .sqsh file
 * records   JOBID.jsonl: one line for each task, with the options that reached it
 * run       one folder for each container on a node: a tmpfs that holds what is written over the image
 * registry  root folders by the name of the image, with + in place of / : # and @
 *
 * What differs: the task keeps its user (no remapping), an image's files keep their owner, --container-save is refused,
 * and slurmstepd complains on standard error where the job's own folder is not in the container.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/fsuid.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <slurm/slurm.h>
#include <slurm/spank.h>

SPANK_PLUGIN(pyxis, 1)

#define PATH_SIZE 4096
#define LINE_SIZE 65536

enum {
	IMAGE, MOUNTS, WORKDIR, NAME, ENV, SAVE, MOUNT_HOME, NO_MOUNT_HOME, REMAP_ROOT, NO_REMAP_ROOT,
	ENTRYPOINT, NO_ENTRYPOINT, WRITABLE, READONLY, OPTION_COUNT
};

static char *given[OPTION_COUNT];
static char cache[PATH_SIZE], records[PATH_SIZE], run[PATH_SIZE], registry[PATH_SIZE];

static int remember(int option, const char *argument, int remote)
{
	(void)remote;
	free(given[option]);
	given[option] = strdup(argument ? argument : "");
	return given[option] ? 0 : -1;
}

static struct spank_option options[] = {
	{"container-image", "[REGISTRY#]IMAGE[:TAG]|PATH", "[pyxis] image: a folder, a .sqsh file or a name", 1, IMAGE, remember},
	{"container-mounts", "SRC:DST[:FLAGS][,...]", "[pyxis] bind mounts", 1, MOUNTS, remember},
	{"container-workdir", "PATH", "[pyxis] working directory inside the container", 1, WORKDIR, remember},
	{"container-name", "NAME", "[pyxis] name of the container within the job", 1, NAME, remember},
	{"container-env", "NAME[,...]", "[pyxis] variables that the image must not override", 1, ENV, remember},
	{"container-save", "PATH", "[pyxis] save the container (refused here)", 1, SAVE, remember},
	{"container-mount-home", NULL, "[pyxis] bind mount the home folder", 0, MOUNT_HOME, remember},
	{"no-container-mount-home", NULL, "[pyxis] do not bind mount it", 0, NO_MOUNT_HOME, remember},
	{"container-remap-root", NULL, "[pyxis] be root inside (no effect here)", 0, REMAP_ROOT, remember},
	{"no-container-remap-root", NULL, "[pyxis] keep the user", 0, NO_REMAP_ROOT, remember},
	{"container-entrypoint", NULL, "[pyxis] run the image's entrypoint (no effect here)", 0, ENTRYPOINT, remember},
	{"no-container-entrypoint", NULL, "[pyxis] do not run it", 0, NO_ENTRYPOINT, remember},
	{"container-writable", NULL, "[pyxis] make the container's files writable", 0, WRITABLE, remember},
	{"container-readonly", NULL, "[pyxis] make them read-only", 0, READONLY, remember},
	SPANK_OPTIONS_TABLE_END
};

static int fail(const char *what, const char *path)
{
	slurm_error("pyxis: %s: %s: %s", what, path, strerror(errno));
	return -1;
}

static void setting(const char *argument, const char *name, char *target)
{
	size_t length = strlen(name);
	if (!strncmp(argument, name, length))
		snprintf(target, PATH_SIZE, "%s", argument + length);
}

static void settings(int count, char **arguments)
{
	for (int i = 0; i < count; i++) {
		setting(arguments[i], "cache=", cache);
		setting(arguments[i], "records=", records);
		setting(arguments[i], "run=", run);
		setting(arguments[i], "registry=", registry);
	}
}

int slurm_spank_init(spank_t spank, int count, char **arguments)
{
	settings(count, arguments);
	spank_context_t context = spank_context();
	if (context != S_CTX_LOCAL && context != S_CTX_REMOTE && context != S_CTX_ALLOCATOR)
		return 0;
	for (int i = 0; options[i].name; i++)
		if (spank_option_register(spank, &options[i]) != ESPANK_SUCCESS)
			return -1;
	return 0;
}

/* ---- files */

/* Writes a path; one that is too long becomes the empty one, which names nothing. */
static void put_path(char target[PATH_SIZE], const char *format, ...)
{
	va_list values;
	va_start(values, format);
	int length = vsnprintf(target, PATH_SIZE, format, values);
	va_end(values);
	if (length < 0 || length >= PATH_SIZE)
		*target = 0;
}

static int make_folders(const char *path, mode_t mode)
{
	char copy[PATH_SIZE];
	put_path(copy, "%s", path);
	for (char *slash = copy + 1; *slash; slash++)
		if (*slash == '/') {
			*slash = 0;
			if (mkdir(copy, mode) && errno != EEXIST)
				return -1;
			*slash = '/';
		}
	return mkdir(copy, mode) && errno != EEXIST ? -1 : 0;
}

static int command(char *const argv[])
{
	pid_t child = fork();
	if (child < 0)
		return -1;
	if (!child) {
		execvp(argv[0], argv);
		_exit(127);
	}
	int status;
	while (waitpid(child, &status, 0) < 0)
		if (errno != EINTR)
			return -1;
	errno = EIO;
	return WIFEXITED(status) && !WEXITSTATUS(status) ? 0 : -1;
}

static int lock_file(const char *folder, const char *name)
{
	char path[PATH_SIZE];
	put_path(path, "%s/%s.lock", folder, name);
	int file = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
	if (file >= 0 && flock(file, LOCK_EX)) {
		close(file);
		file = -1;
	}
	return file;
}

/* stat() with the rights of the job's user: a mount must not open what the user could not open. */
static int user_stat(spank_t spank, const char *path, struct stat *state)
{
	uid_t uid = 0;
	gid_t gid = 0;
	spank_get_item(spank, S_JOB_UID, &uid);
	spank_get_item(spank, S_JOB_GID, &gid);
	setfsgid(gid);
	setfsuid(uid);
	int result = stat(path, state);
	int problem = errno;
	setfsuid(geteuid());
	setfsgid(getegid());
	errno = problem;
	return result;
}

/* ---- the record */

static void put_text(FILE *file, const char *text)
{
	fputc('"', file);
	for (const unsigned char *c = (const unsigned char *)text; *c; c++) {
		if (*c == '"' || *c == '\\')
			fputc('\\', file);
		if (*c < 0x20)
			fprintf(file, "\\u%04x", *c);
		else
			fputc(*c, file);
	}
	fputc('"', file);
}

static void record(spank_t spank, uint32_t job, uint32_t step, const char *node)
{
	uint32_t task = 0;
	char path[PATH_SIZE];
	int any = 0;
	for (int i = 0; i < OPTION_COUNT; i++)
		any |= given[i] != NULL;
	if (!any || !*records)
		return;
	spank_get_item(spank, S_TASK_GLOBAL_ID, &task);
	put_path(path, "%s/%u.jsonl", records, job);
	FILE *file = fopen(path, "ae");
	if (!file)
		return;
	flock(fileno(file), LOCK_EX);
	fprintf(file, "{\"job\": %u, \"step\": %d, \"task\": %u, \"node\": ", job, (int)step, task);
	put_text(file, node);
	fputs(", \"options\": {", file);
	const char *between = "";
	for (int i = 0; options[i].name; i++)
		if (given[options[i].val]) {
			fputs(between, file);
			put_text(file, options[i].name);
			fputs(": ", file);
			put_text(file, given[options[i].val]);
			between = ", ";
		}
	fputs("}}\n", file);
	fclose(file);
}

/* ---- images and containers */

/* Unpacks a .sqsh file once, whoever asks first; the others wait. */
static int unpacked(const char *image, const struct stat *state, char *folder)
{
	char name[256], temporary[PATH_SIZE];
	snprintf(name, sizeof name, "%lx-%lx-%lx-%lx.%lx", (long)state->st_dev, (long)state->st_ino, (long)state->st_size,
		 (long)state->st_mtim.tv_sec, (long)state->st_mtim.tv_nsec);
	put_path(folder, "%s/%s", cache, name);
	int lock = lock_file(cache, name);
	if (lock < 0)
		return fail("cannot lock", folder);
	int result = 0;
	if (access(folder, F_OK)) {
		put_path(temporary, "%s.part", folder);
		char *const remove[] = {"rm", "-rf", "--", temporary, NULL};
		char *const unpack[] = {"unsquashfs", "-no-progress", "-quiet", "-dest", temporary, (char *)image, NULL};
		if (command(remove) || command(unpack) || rename(temporary, folder))
			result = fail("failed to create container filesystem", image);
	}
	close(lock);
	return result;
}

/* Gives the folder of an image: a folder, an unpacked file, or the registry's. */
static int image_folder(spank_t spank, const char *image, char *folder)
{
	struct stat state;
	char path[PATH_SIZE];
	if (*image == '/' || *image == '.') {
		put_path(path, "%s", image);
		if (user_stat(spank, path, &state))
			return fail("failed to open container image", image);
	} else {
		size_t start = strlen(registry) + 1;
		const char *name = strncmp(image, "docker://", 9) ? image : image + 9;
		put_path(path, "%s/%s", registry, name);
		for (char *c = path + start; *c; c++)
			if (strchr("/:#@", *c))
				*c = '+';
		if (stat(path, &state))
			return fail("failed to import docker image", image);
	}
	if (!S_ISDIR(state.st_mode))
		return unpacked(path, &state, folder);
	put_path(folder, "%s", path);
	return 0;
}

static void container_folder(uint32_t job, uint32_t step, const char *node, char *folder)
{
	if (given[NAME])
		put_path(folder, "%s/%s-%u-named-%s", run, node, job, given[NAME]);
	else
		put_path(folder, "%s/%s-%u.%u", run, node, job, step);
}

/* The first task of a step on a node mounts the container where its siblings find it. */
static int mount_container(spank_t spank, const char *folder)
{
	char root[PATH_SIZE], lower[PATH_SIZE], upper[PATH_SIZE], work[PATH_SIZE];
	char saved[PATH_SIZE], image[PATH_SIZE], parts[4 * PATH_SIZE];
	put_path(root, "%s/root", folder);
	if (!access(root, F_OK))
		return 0;
	if (!given[IMAGE]) {
		errno = ENOENT;
		return fail("error: container does not exist and no --container-image was given", given[NAME]);
	}
	if (image_folder(spank, given[IMAGE], image))
		return -1;
	put_path(lower, "%s/lower", folder);
	put_path(upper, "%s/upper", folder);
	put_path(work, "%s/work", folder);
	if (make_folders(folder, 0755) || mount("tmpfs", folder, "tmpfs", 0, "mode=0755"))
		return fail("cannot mount", folder);
	/* The image's own path may hold what overlayfs takes for a separator. */
	if (mkdir(lower, 0755) || mkdir(upper, 0755) || mkdir(work, 0755) || mount(image, lower, NULL, MS_BIND, NULL))
		return fail("cannot mount", image);
	put_path(saved, "%s/mounts", folder);
	FILE *file = given[MOUNTS] ? fopen(saved, "we") : NULL;
	if (file) {
		fputs(given[MOUNTS], file);
		fclose(file);
	}
	snprintf(parts, sizeof parts, "lowerdir=%s,upperdir=%s,workdir=%s", lower, upper, work);
	if (mkdir(root, 0755) || mount("overlay", root, "overlay", 0, parts)) {
		rmdir(root);
		return fail("cannot mount", root);
	}
	return 0;
}

static void unmount_container(const char *folder)
{
	char path[PATH_SIZE];
	put_path(path, "%s/root", folder);
	umount2(path, MNT_DETACH);
	put_path(path, "%s/lower", folder);
	umount2(path, MNT_DETACH);
	umount2(folder, MNT_DETACH);
	rmdir(folder);
	put_path(path, "%s.lock", folder);
	unlink(path);
}

static int bind_path(const char *source, int folder, const char *root, const char *target, int readonly)
{
	char path[PATH_SIZE];
	put_path(path, "%s%s", root, target);
	if (folder) {
		if (access(path, F_OK) && make_folders(path, 0755))
			return fail("couldn't mount", target);
	} else if (access(path, F_OK)) {
		char *name = strrchr(path, '/');
		*name = 0;
		if (make_folders(path, 0755))
			return fail("couldn't mount", target);
		*name = '/';
		int file = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0644);
		if (file < 0)
			return fail("couldn't mount", target);
		close(file);
	}
	if (mount(source, path, NULL, MS_BIND | MS_REC, NULL))
		return fail("couldn't mount", source);
	if (readonly && mount(NULL, path, NULL, MS_BIND | MS_REMOUNT | MS_RDONLY, NULL))
		return fail("couldn't mount read-only", source);
	return 0;
}

static int system_mounts(const char *root)
{
	static const char *const paths[] = {"/proc", "/sys", "/dev", "/etc/hosts", "/etc/resolv.conf", "/etc/passwd", "/etc/group"};
	for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
		struct stat state;
		if (!stat(paths[i], &state) && bind_path(paths[i], S_ISDIR(state.st_mode), root, paths[i], 0))
			return -1;
	}
	char temporary[PATH_SIZE];
	put_path(temporary, "%s/tmp", root);
	if (!mkdir(temporary, 01777))
		chmod(temporary, 01777);
	return 0;
}

/* One SRC[:DST[:FLAGS]]; flags are joined by +. */
static int user_mount(spank_t spank, const char *root, char *entry)
{
	struct stat state;
	int readonly = 0;
	char *target = strchr(entry, ':'), *flags = NULL, *rest = NULL;
	if (target) {
		*target++ = 0;
		flags = strchr(target, ':');
		if (flags)
			*flags++ = 0;
	} else {
		target = entry;
	}
	for (char *flag = flags ? strtok_r(flags, "+", &rest) : NULL; flag; flag = strtok_r(NULL, "+", &rest)) {
		errno = EINVAL;
		if (!strcmp(flag, "ro"))
			readonly = 1;
		else if (strcmp(flag, "rw") && strcmp(flag, "rbind") && strcmp(flag, "bind") && strncmp(flag, "x-create", 8))
			return fail("invalid mount flag", flag);
	}
	errno = EINVAL;
	if (*entry != '/' || *target != '/')
		return fail("invalid mount, a path must be absolute", entry);
	if (user_stat(spank, entry, &state))
		return fail("couldn't mount", entry);
	return bind_path(entry, S_ISDIR(state.st_mode), root, target, readonly);
}

static int user_mounts(spank_t spank, const char *folder, const char *root)
{
	char saved[PATH_SIZE], list[LINE_SIZE] = "", home[PATH_SIZE];
	put_path(saved, "%s/mounts", folder);
	if (given[MOUNTS]) {
		snprintf(list, sizeof list, "%s", given[MOUNTS]);
	} else {	/* a step that joins a named container has the mounts of the one that made it */
		FILE *file = fopen(saved, "re");
		if (file) {
			list[fread(list, 1, sizeof list - 1, file)] = 0;
			fclose(file);
		}
	}
	char *rest = NULL;
	for (char *entry = strtok_r(list, ",", &rest); entry; entry = strtok_r(NULL, ",", &rest))
		if (user_mount(spank, root, entry))
			return -1;
	if (given[MOUNT_HOME] && spank_getenv(spank, "HOME", home, sizeof home) == ESPANK_SUCCESS)
		return user_mount(spank, root, home);
	return 0;
}

static int kept(const char *name)
{
	char list[LINE_SIZE], *rest = NULL;
	snprintf(list, sizeof list, "%s", given[ENV] ? given[ENV] : "");
	for (char *entry = strtok_r(list, ",", &rest); entry; entry = strtok_r(NULL, ",", &rest))
		if (!strcmp(entry, name))
			return 1;
	return 0;
}

/* The image's variables win over the job's, but for those of --container-env. */
static void image_environment(spank_t spank, const char *root)
{
	char path[PATH_SIZE], line[LINE_SIZE];
	put_path(path, "%s/etc/environment", root);
	FILE *file = fopen(path, "re");
	if (!file)
		return;
	while (fgets(line, sizeof line, file)) {
		line[strcspn(line, "\n")] = 0;
		char *value = strchr(line, '=');
		if (*line == '#' || !value)
			continue;
		*value++ = 0;
		if (!kept(line))
			spank_setenv(spank, line, value, 1);
	}
	fclose(file);
}

static int enter(const char *what)
{
	const char *folder = given[WORKDIR] ? given[WORKDIR] : "/";
	return chdir(folder) ? fail(what, folder) : 0;
}

/* ---- the hooks */

/* As root, in each task's process, before it becomes the user's. */
int slurm_spank_task_init_privileged(spank_t spank, int count, char **arguments)
{
	(void)count;
	(void)arguments;
	uint32_t job = 0, step = 0;
	char node[256] = "", folder[PATH_SIZE], root[PATH_SIZE];
	spank_get_item(spank, S_JOB_ID, &job);
	spank_get_item(spank, S_JOB_STEPID, &step);
	gethostname(node, sizeof node - 1);
	record(spank, job, step, node);
	if (!given[IMAGE] && !given[NAME])
		return 0;
	errno = ENOTSUP;
	if (given[SAVE])
		return fail("cannot save a container", given[SAVE]);
	container_folder(job, step, node, folder);
	const char *name = strrchr(folder, '/') + 1;
	int lock = lock_file(run, name);
	if (lock < 0)
		return fail("cannot lock", folder);
	/* The job's own, such as 077, is for its files and not for the folders that a container is made of. */
	mode_t mask = umask(022);
	int result = mount_container(spank, folder);
	umask(mask);
	close(lock);
	if (result)
		return -1;
	put_path(root, "%s/root", folder);
	if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL))
		return fail("couldn't join a mount namespace of", name);
	if (mount(root, root, NULL, MS_BIND | MS_REC, NULL))
		return fail("couldn't mount", root);
	image_environment(spank, root);
	mask = umask(022);
	if (system_mounts(root) || user_mounts(spank, folder, root))
		return -1;
	umask(mask);
	if (given[READONLY] && mount(NULL, root, NULL, MS_BIND | MS_REMOUNT | MS_RDONLY, NULL))
		return fail("couldn't make read-only", root);
	if (chroot(root))
		return fail("couldn't chroot", root);
	return enter("couldn't chdir to container cwd");
}

/* As the user: slurmstepd has changed to the job's own folder in between. */
int slurm_spank_task_init(spank_t spank, int count, char **arguments)
{
	(void)spank;
	(void)count;
	(void)arguments;
	return given[IMAGE] || given[NAME] ? enter("couldn't chdir to container cwd") : 0;
}

/* At the end of slurmstepd: a container without a name goes with its step. */
int slurm_spank_exit(spank_t spank, int count, char **arguments)
{
	(void)count;
	(void)arguments;
	uint32_t job = 0, step = 0;
	char node[256] = "", folder[PATH_SIZE];
	if (spank_context() != S_CTX_REMOTE || !given[IMAGE] || given[NAME])
		return 0;
	spank_get_item(spank, S_JOB_ID, &job);
	spank_get_item(spank, S_JOB_STEPID, &step);
	gethostname(node, sizeof node - 1);
	container_folder(job, step, node, folder);
	unmount_container(folder);
	return 0;
}

/* At the end of the job on a node, in a process of its own without slurm_spank_init: those with a name go too. */
int slurm_spank_job_epilog(spank_t spank, int count, char **arguments)
{
	settings(count, arguments);
	uint32_t job = 0;
	char node[256] = "", start[512], folder[PATH_SIZE];
	spank_get_item(spank, S_JOB_ID, &job);
	gethostname(node, sizeof node - 1);
	snprintf(start, sizeof start, "%s-%u-named-", node, job);
	DIR *listing = opendir(run);
	if (!listing)
		return 0;
	for (struct dirent *entry; (entry = readdir(listing));)
		if (entry->d_type == DT_DIR && !strncmp(entry->d_name, start, strlen(start))) {
			put_path(folder, "%s/%s", run, entry->d_name);
			unmount_container(folder);
		}
	closedir(listing);
	return 0;
}

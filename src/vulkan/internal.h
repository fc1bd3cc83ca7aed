// What the files of the Vulkan runtime share. Everything is made in sxt_vulkan_open and freed in sxt_vulkan_close; who
// locks what stands at each lock.
#ifndef SXT_VULKAN_INTERNAL_H
#define SXT_VULKAN_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/types.h>

#include <volk.h>

#include <vk_mem_alloc.h>

#include "vulkan/hazard.h"
#include "vulkan/vulkan.h"

typedef struct sxt_vulkan_device sxt_vulkan_device;
typedef struct sxt_vulkan_buffer sxt_vulkan_buffer;

// ── Instance (loader.c, instance.c) ──

// Functions that come from an instance. Those of extensions may be NULL, and with an old loader those of Vulkan 1.1
// too.
#define SXT_VULKAN_INSTANCE_FUNCTIONS(X)                                                                               \
    X(vkDestroyInstance)                                                                                               \
    X(vkEnumeratePhysicalDevices)                                                                                      \
    X(vkEnumerateDeviceExtensionProperties)                                                                            \
    X(vkGetPhysicalDeviceProperties)                                                                                   \
    X(vkGetPhysicalDeviceQueueFamilyProperties)                                                                        \
    X(vkGetPhysicalDeviceMemoryProperties)                                                                             \
    X(vkGetPhysicalDeviceProperties2)                                                                                  \
    X(vkGetPhysicalDeviceFeatures2)                                                                                    \
    X(vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR)                                                               \
    X(vkGetPhysicalDeviceCooperativeMatrixFlexibleDimensionsPropertiesNV)                                              \
    X(vkCreateDebugUtilsMessengerEXT)                                                                                  \
    X(vkDestroyDebugUtilsMessengerEXT)                                                                                 \
    X(vkSetDebugUtilsObjectNameEXT)                                                                                    \
    X(vkCreateDevice)                                                                                                  \
    X(vkGetDeviceProcAddr)

typedef struct sxt_vulkan_instance {
    sxt_logger logger;
    void *library;        // the loader, or NULL if its entry point was given
    uint32_t api_version; // what the loader can do
    bool debug_utils;
    VkInstance handle;
    VkDebugUtilsMessengerEXT messenger;
    PFN_vkGetInstanceProcAddr vkGetInstanceProcAddr;
#define SXT_MEMBER(name) PFN_##name name;
    SXT_VULKAN_INSTANCE_FUNCTIONS(SXT_MEMBER)
#undef SXT_MEMBER
} sxt_vulkan_instance;

// The system's loader, or NULL. `out_library` is for sxt_vulkan_loader_close.
PFN_vkGetInstanceProcAddr sxt_vulkan_loader_open(void **out_library);
void sxt_vulkan_loader_close(void *library);

// Fills a device's table by volk.
void sxt_vulkan_load_device(PFN_vkGetDeviceProcAddr get_proc, VkDevice handle, struct VolkDeviceTable *out_table);

// `get_proc` NULL = the system's loader. The instance must stay where it is: messages of validation layers go to its
// logger. NO_DEVICE, with what to install in the log, if there is no loader or no driver. `finish` takes a half-made
// one.
sxt_result sxt_vulkan_instance_init(const sxt_logger *logger, PFN_vkGetInstanceProcAddr get_proc,
                                    sxt_vulkan_instance *out_instance);
void sxt_vulkan_instance_finish(sxt_vulkan_instance *instance);

// All physical devices, to be freed; OK with none.
sxt_result sxt_vulkan_instance_devices(const sxt_vulkan_instance *instance, VkPhysicalDevice **out_devices,
                                       uint32_t *out_count);

// ── Physical devices (physical.c, features.c, quirks.c) ──

typedef enum sxt_vulkan_extension {
    SXT_VULKAN_EXT_MEMORY_BUDGET,
    SXT_VULKAN_EXT_PORTABILITY_SUBSET,
    SXT_VULKAN_EXT_SUBGROUP_SIZE_CONTROL, // part of Vulkan 1.3
    SXT_VULKAN_EXT_INTEGER_DOT_PRODUCT,   // part of Vulkan 1.3
    SXT_VULKAN_EXT_BFLOAT16,
    SXT_VULKAN_EXT_COOPERATIVE_MATRIX,
    SXT_VULKAN_EXT_COOPERATIVE_MATRIX2,
    SXT_VULKAN_EXT_PIPELINE_EXECUTABLE_PROPERTIES, // enabled on compile-only devices
    SXT_VULKAN_EXT_COUNT
} sxt_vulkan_extension;

extern const char *const sxt_vulkan_extension_names[SXT_VULKAN_EXT_COUNT];

typedef struct sxt_vulkan_physical {
    VkPhysicalDevice handle;
    VkPhysicalDeviceType type;
    sxt_device_info info; // caps: after quirks, before `disable`, without dispatch_flops
    uint32_t api_version; // what device and loader can do together
    uint32_t driver_version;
    uint8_t cache_uuid[VK_UUID_SIZE];
    bool extensions[SXT_VULKAN_EXT_COUNT];
    uint32_t queue_family;
    uint32_t timestamp_bits;
    uint64_t max_buffer_bytes;
} sxt_vulkan_physical;

// Asks a device for everything. Never fails: a device that cannot be used says why in info.why_not.
void sxt_vulkan_physical_query(const sxt_vulkan_instance *instance, VkPhysicalDevice handle,
                               sxt_vulkan_physical *out_physical);

// Operations that a dispatch may hold to take so long on a device of that type; 0 = any number: on a CPU without a
// budget.
uint64_t sxt_vulkan_dispatch_flops(VkPhysicalDeviceType type, uint32_t budget_us);

// What quirks are told by, beside the capabilities.
typedef struct sxt_vulkan_facts {
    VkPhysicalDeviceType type;
    uint32_t driver_version;
    bool mixed_dot_accelerated; // 4x8-bit packed dot products of mixed signedness
} sxt_vulkan_facts;

// Corrects what a driver says of itself, before matrix shapes are asked for; logs each correction. The only place, but
// for plans, that knows vendors.
void sxt_vulkan_quirks_apply(const sxt_logger *logger, const sxt_vulkan_facts *facts, sxt_caps *caps);

// The features that Sextant knows of, as one chain for asking and for enabling.
typedef struct sxt_vulkan_features {
    VkPhysicalDeviceFeatures2 core;
    VkPhysicalDeviceVulkan11Features v11;
    VkPhysicalDeviceVulkan12Features v12;
    VkPhysicalDeviceVulkan13Features v13;
    VkPhysicalDeviceSubgroupSizeControlFeatures size_control;
    VkPhysicalDeviceShaderIntegerDotProductFeatures int_dot;
    VkPhysicalDeviceShaderBfloat16FeaturesKHR bfloat16;
    VkPhysicalDeviceCooperativeMatrixFeaturesKHR matrix;
    VkPhysicalDeviceCooperativeMatrix2FeaturesNV matrix2;
    VkPhysicalDevicePipelineExecutablePropertiesFeaturesKHR executables;
} sxt_vulkan_features;

// Asks for the features and writes those capabilities that are features.
void sxt_vulkan_features_query(const sxt_vulkan_instance *instance, const sxt_vulkan_physical *physical,
                               sxt_vulkan_features *out_features, sxt_caps *caps);

// Adds the shapes of matrix products that kernels can use to `caps`, and says by caps.matrix and matrix2 whether there are
// any. `workgroups`: matrices of scope workgroup are there too.
void sxt_vulkan_matrix_shapes_query(const sxt_vulkan_instance *instance, VkPhysicalDevice device, bool workgroups,
                                    sxt_caps *caps);

// Makes the chain that enables what `caps` says and what running (or else, compiling alone) takes, and nothing else,
// and the list of extensions for it. Chain and `caps` must be of the same device; returns the number of names written.
uint32_t sxt_vulkan_features_enable(const sxt_vulkan_physical *physical, const sxt_caps *caps, bool compile_only,
                                    sxt_vulkan_features *out_features, const char *out_names[SXT_VULKAN_EXT_COUNT]);

// ── Results (result.c) ──

const char *sxt_vulkan_result_name(VkResult result);

// Logs a failed call and translates its result.
sxt_result sxt_vulkan_fail(const sxt_logger *logger, const char *call, VkResult vk);

// The same, and remembers if the device is lost.
sxt_result sxt_vulkan_device_fail(sxt_vulkan_device *device, const char *call, VkResult vk);

// A call on a device, in a function with a variable `result` and a label `error`.
#define SXT_VK(device, call)                                                                                           \
    do {                                                                                                               \
        const VkResult vk_ = (device)->vk.call;                                                                        \
        if (vk_ < 0) {                                                                                                 \
            result = sxt_vulkan_device_fail((device), #call, vk_);                                                     \
            goto error;                                                                                                \
        }                                                                                                              \
    } while (0)

// ── Choices (choices.c) ──

enum { SXT_VULKAN_CHOICES = 512 };

typedef struct sxt_vulkan_choices {
    pthread_mutex_t lock; // guards the rest
    uint32_t count, next; // `next`: the row to be written once all are taken
    struct {
        uint64_t key;
        uint32_t value;
    } rows[SXT_VULKAN_CHOICES];
} sxt_vulkan_choices;

// Takes the choices at the start of a cache file's payload; returns their length, 0 if they are damaged.
size_t sxt_vulkan_choices_load(sxt_vulkan_choices *choices, const uint8_t *payload, size_t bytes);

// Writes them, if `out_payload` is not NULL; returns their length.
size_t sxt_vulkan_choices_save(sxt_vulkan_choices *choices, uint8_t *out_payload);

// ── Pipelines (pipeline.c) ──

typedef struct sxt_vulkan_pipeline sxt_vulkan_pipeline;
struct sxt_vulkan_pipeline {
    sxt_vulkan_pipeline *next;
    sxt_shader_id shader;
    uint32_t layout, subgroup_size, spec_count;
    uint32_t spec[SXT_MAX_SPEC];
    VkPipeline handle;
    atomic_bool ran; // the driver's compiler, which may wait for the first dispatch, has seen it
};

enum { SXT_VULKAN_PIPELINE_BUCKETS = 64, SXT_VULKAN_LAYOUTS = 2 * (SXT_MAX_BINDINGS + 1) };

typedef struct sxt_vulkan_pipelines {
    pthread_mutex_t lock;    // guards the members below but `cache`, never held while a driver compiles
    pthread_mutex_t compile; // one compilation at a time, taken before `lock`
    VkPipelineCache cache;
    sxt_vulkan_pipeline *buckets[SXT_VULKAN_PIPELINE_BUCKETS];
    VkDescriptorSetLayout set_layouts[SXT_VULKAN_LAYOUTS]; // by sxt_vulkan_layout
    VkPipelineLayout layouts[SXT_VULKAN_LAYOUTS];
    char *cache_path; // NULL: memory only
    uint64_t cache_loaded_hash;
} sxt_vulkan_pipelines;

sxt_result sxt_vulkan_pipelines_init(sxt_vulkan_device *device, const char *cache_path);
// Writes the cache file. Takes a half-made one.
void sxt_vulkan_pipelines_finish(sxt_vulkan_device *device);

// Which layout a dispatch uses: 2·n for n storage buffers, 0 for one uniform buffer with addresses; 1 more with params.
static inline uint32_t sxt_vulkan_layout(const sxt_dispatch *dispatch) {
    return 2 * (dispatch->by_address ? 0 : dispatch->binding_count) + (dispatch->param_bytes > 0);
}

// Compiles the pipeline of a dispatch, under the compile lock; logs the shader's name if that fails.
sxt_result sxt_vulkan_pipeline_compile(sxt_vulkan_device *device, const sxt_dispatch *dispatch, VkPipeline *out_handle);

// Finds or makes the pipeline of a dispatch. It lives as long as the device.
sxt_result sxt_vulkan_pipeline_get(sxt_vulkan_device *device, const sxt_dispatch *dispatch,
                                   sxt_vulkan_pipeline **out_pipeline);

// ── Descriptor sets (descriptors.c) ──

// Pools, as many as a recording needs; NULL is none.
typedef struct sxt_vulkan_sets sxt_vulkan_sets;

// A dispatch's set, and where the stretch of uniform memory lies that belongs to it.
typedef struct sxt_vulkan_set {
    VkDescriptorSet handle;
    sxt_buffer *uniforms; // may be NULL if the dispatch has neither addresses nor params
    uint32_t offset;
} sxt_vulkan_set;

// The runtime's buffers that bindings of a plan stand for, beside those of the device.
typedef struct sxt_vulkan_own_buffers {
    sxt_buffer *table, *scratch;
} sxt_vulkan_own_buffers;

// Takes a set, from a new pool if need be. The dispatch's pipeline must be there already.
sxt_result sxt_vulkan_set_allocate(sxt_vulkan_device *device, sxt_vulkan_sets **pools, const sxt_dispatch *dispatch,
                                   sxt_vulkan_set *out_set);
void sxt_vulkan_set_write(sxt_vulkan_device *device, const sxt_dispatch *dispatch, const sxt_vulkan_own_buffers *own,
                          const sxt_vulkan_set *set);
// Gives all sets back. The device must be done with them.
sxt_result sxt_vulkan_sets_reset(sxt_vulkan_device *device, sxt_vulkan_sets *pools);
void sxt_vulkan_sets_destroy(sxt_vulkan_device *device, sxt_vulkan_sets *pools);

// ── Device, queue (device.c, queue.c) ──

// Functions of a device that the runtime calls, checked for at opening. The allocator fetches its own.
#define SXT_VULKAN_DEVICE_FUNCTIONS(X)                                                                                 \
    X(vkAllocateCommandBuffers)                                                                                        \
    X(vkAllocateDescriptorSets)                                                                                        \
    X(vkBeginCommandBuffer)                                                                                            \
    X(vkCmdBindDescriptorSets)                                                                                         \
    X(vkCmdBindPipeline)                                                                                               \
    X(vkCmdCopyBuffer)                                                                                                 \
    X(vkCmdDispatch)                                                                                                   \
    X(vkCmdFillBuffer)                                                                                                 \
    X(vkCmdPipelineBarrier)                                                                                            \
    X(vkCmdPushConstants)                                                                                              \
    X(vkCmdResetQueryPool)                                                                                             \
    X(vkCmdWriteTimestamp)                                                                                             \
    X(vkCreateCommandPool)                                                                                             \
    X(vkCreateComputePipelines)                                                                                        \
    X(vkCreateDescriptorPool)                                                                                          \
    X(vkCreateDescriptorSetLayout)                                                                                     \
    X(vkCreatePipelineCache)                                                                                           \
    X(vkCreatePipelineLayout)                                                                                          \
    X(vkCreateQueryPool)                                                                                               \
    X(vkCreateSemaphore)                                                                                               \
    X(vkCreateShaderModule)                                                                                            \
    X(vkDestroyCommandPool)                                                                                            \
    X(vkDestroyDescriptorPool)                                                                                         \
    X(vkDestroyDescriptorSetLayout)                                                                                    \
    X(vkDestroyDevice)                                                                                                 \
    X(vkDestroyPipeline)                                                                                               \
    X(vkDestroyPipelineCache)                                                                                          \
    X(vkDestroyPipelineLayout)                                                                                         \
    X(vkDestroyQueryPool)                                                                                              \
    X(vkDestroySemaphore)                                                                                              \
    X(vkDestroyShaderModule)                                                                                           \
    X(vkDeviceWaitIdle)                                                                                                \
    X(vkEndCommandBuffer)                                                                                              \
    X(vkGetBufferDeviceAddress)                                                                                        \
    X(vkGetDeviceQueue)                                                                                                \
    X(vkGetPipelineCacheData)                                                                                          \
    X(vkGetQueryPoolResults)                                                                                           \
    X(vkGetSemaphoreCounterValue)                                                                                      \
    X(vkQueueSubmit)                                                                                                   \
    X(vkResetCommandPool)                                                                                              \
    X(vkResetDescriptorPool)                                                                                           \
    X(vkUpdateDescriptorSets)                                                                                          \
    X(vkWaitSemaphores)

// Copies through staging memory, for memory that the host does not see, and of the fault word. One at a time.
typedef struct sxt_vulkan_transfer {
    pthread_mutex_t lock; // guards the rest, and is held during a whole copy
    VkBuffer staging;
    VmaAllocation allocation;
    void *mapped;
    VkCommandPool pool;
    VkCommandBuffer commands;
    uint64_t ticket; // of the last copy
} sxt_vulkan_transfer;

typedef struct sxt_vulkan_table sxt_vulkan_table;

struct sxt_vulkan_device {
    sxt_device base;
    sxt_vulkan_instance instance;
    sxt_vulkan_physical physical;
    VkDevice handle;
    struct VolkDeviceTable vk; // all calls on the device go through it; the allocator took its own copy at opening
    VmaAllocator allocator;
    // Made to compile only: then the allocator and all from the queue on stay empty, but for the layouts of `pipelines`.
    bool compile_only;
    bool statistics;  // compile-only, and the driver has them
    pid_t process;    // which opened it: a forked child must not touch the driver
    atomic_bool lost; // for good

    pthread_mutex_t queue_lock; // guards the queue, and writes to `submitted`
    VkQueue queue;
    VkSemaphore timeline;
    _Atomic uint64_t submitted; // the last ticket given
    _Atomic uint64_t completed; // the highest one known to be done

    pthread_mutex_t graveyard_lock;
    sxt_vulkan_buffer *graveyard; // destroyed by the user while work was under way
    atomic_uint live_buffers;

    sxt_vulkan_transfer transfer;
    sxt_vulkan_pipelines pipelines;
    // For bindings that a shader declares and will not touch. Read and written apart, so that no tool sees a hazard.
    sxt_buffer *dummy_read, *dummy_written;
    sxt_buffer *faults;      // of all work: where atomics are fast, which may not be where the host can see
    sxt_buffer *faults_seen; // the host's copy

    sxt_vulkan_choices choices;
    pthread_mutex_t tables_lock;
    sxt_vulkan_table *tables;

    _Atomic(sxt_buffer *) spare_scratch; // that no stream has taken yet, or NULL
};

static inline sxt_vulkan_device *sxt_vulkan_device_of(sxt_device *device) {
    return (sxt_vulkan_device *)device;
}

// Like the calls of vulkan.h, through the given loader instead of the system's: for tests that stand in for a driver.
sxt_result sxt_vulkan_list_through(PFN_vkGetInstanceProcAddr get_proc, const sxt_device_params *params,
                                   sxt_device_info *infos, uint32_t capacity, uint32_t *out_count);
sxt_result sxt_vulkan_open_through(PFN_vkGetInstanceProcAddr get_proc, const sxt_backend *backend,
                                   const sxt_device_params *params, uint32_t index, sxt_device **out_device);

// DEVICE_LOST if the device is lost or of another process (then the log says so).
sxt_result sxt_vulkan_check(sxt_vulkan_device *device);
// Whether this process is a fork of the one that opened the device: even freeing would hang some drivers then.
bool sxt_vulkan_foreign(const sxt_vulkan_device *device);

// Submits one command buffer; its ticket is the device's next.
sxt_result sxt_vulkan_submit(sxt_vulkan_device *device, VkCommandBuffer commands, uint64_t *out_ticket);

// Whether the device has passed a ticket. False on a lost device.
bool sxt_vulkan_passed(sxt_vulkan_device *device, uint64_t ticket);

// Waits for a ticket by all means there are: for what cannot be put off, such as destruction. Logs if even that fails.
void sxt_vulkan_drain(sxt_vulkan_device *device, uint64_t ticket);

// Memory barriers over everything: what came before on the queue, and what the host will read.
void sxt_vulkan_begin_barrier(sxt_vulkan_device *device, VkCommandBuffer commands);
void sxt_vulkan_end_barrier(sxt_vulkan_device *device, VkCommandBuffer commands);

// ── Buffers, transfers, tables (memory.c, transfer.c, table.c) ──

struct sxt_vulkan_buffer {
    sxt_buffer base;
    VkBuffer handle;
    VmaAllocation allocation;
    VkDeviceAddress address; // 0 without caps.buffer_address
    uint64_t padded_bytes;   // kernels read whole words of 16 bytes
    uint64_t ticket;         // in the graveyard: freed once the device has passed it
    sxt_vulkan_buffer *next; // in the graveyard, or a stream's outgrown scratch
};

static inline sxt_vulkan_buffer *sxt_vulkan_buffer_of(sxt_buffer *buffer) {
    return (sxt_vulkan_buffer *)buffer;
}

sxt_result sxt_vulkan_memory_init(sxt_vulkan_device *device);
void sxt_vulkan_memory_finish(sxt_vulkan_device *device);
// Frees what the graveyard holds and the device has passed; with `all`, everything.
void sxt_vulkan_memory_collect(sxt_vulkan_device *device, bool all);

// Memory that the host writes, once, and every workgroup reads.
sxt_result sxt_vulkan_uniforms_create(sxt_vulkan_device *device, uint64_t bytes, sxt_buffer **out_buffer);

void sxt_vulkan_transfer_finish(sxt_vulkan_device *device);

// Scratch memory of at least so many bytes, for a stream to own: what was set aside, if it is large enough.
sxt_result sxt_vulkan_scratch_take(sxt_vulkan_device *device, uint64_t bytes, sxt_buffer **out_buffer);
// Sets so much aside, if there is not as much yet, for the next stream that needs some.
sxt_result sxt_vulkan_scratch_reserve(sxt_vulkan_device *device, uint64_t bytes);

// The buffer with a plan's table, made and filled if it is not there.
sxt_result sxt_vulkan_table_get(sxt_vulkan_device *device, const sxt_table *table, sxt_buffer **out_buffer);
void sxt_vulkan_tables_finish(sxt_vulkan_device *device);

#endif
